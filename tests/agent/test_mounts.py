"""Mounts worth watching, from mountinfo texts."""

from agent import mounts
from agent.mounts import Mount, read, real

TEXT = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /run rw,nosuid - tmpfs tmpfs rw,size=1g
25 22 8:2 / /var/lib/post\\040gres rw,noatime shared:2 master:1 - xfs /dev/sdb1 rw
26 22 8:2 /sub /mnt/bound rw,noatime - xfs /dev/sdb1 rw
27 22 0:40 / /data ro,relatime - nfs4 nas:/export ro
28 22 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/l
29 22 8:1 /etc/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw
30 22 0:60 / /snap/core/1 ro - squashfs /dev/loop1 ro
31 22 7:1 / /dev/shm/x rw - ext4 /dev/loop9 rw
32 22 0:70 / /mnt/remote rw - fuse.sshfs me@h:/x rw
33 22 0:71 / /tmp/.mount_app ro,nosuid - fuse.app.AppImage app ro
34 22 0:72 / /home/u/b rw - fuse /dev/sda1 rw
35 22 9:9 / /images ro - erofs /dev/vdz ro
36 22 9:8 / /errors rw - ext4 /dev/vdy ro
37 22 9:7 / /protected ro - ext4 /dev/vdx rw
torn line
"""


def chosen(wanted: tuple[str, ...] = ()) -> list[str]:
    return [mount.point for mount in real(read(TEXT), wanted)]


def test_each_device_that_holds_data_is_watched_once_at_its_shortest_path() -> None:
    assert chosen() == ["/", "/errors", "/home/u/b", "/mnt/bound", "/protected"]


def test_a_mount_that_calls_itself_after_a_device_does_not_hide_the_real_one() -> None:
    shorter = TEXT.replace("/home/u/b", "/b").replace("8:1 / / rw", "8:1 / /long/path rw")
    assert {"/b", "/long/path"} <= {mount.point for mount in real(read(shorter), ())}


def test_images_and_mounts_of_users_are_watched_only_when_they_are_named() -> None:
    for point in ("/images", "/tmp/.mount_app", "/mnt/remote", "/data"):
        assert point not in chosen()
        assert point in chosen((point,))


def test_a_filesystem_that_errors_made_read_only_and_a_protected_view_of_one_are_still_watched() -> None:
    assert {"/errors", "/protected"} <= set(chosen())


def test_a_mount_that_is_named_is_watched_whatever_its_kind() -> None:
    assert chosen(("/run", "/var/lib/post gres")) == [
        "/",
        "/errors",
        "/home/u/b",
        "/mnt/bound",
        "/protected",
        "/run",
        "/var/lib/post gres",
    ]


def test_fields_are_read_with_their_escapes_and_optional_ones_skipped() -> None:
    rows = {mount.point: mount for mount in read(TEXT)}
    assert rows["/var/lib/post gres"] == Mount("/var/lib/post gres", "/dev/sdb1", "xfs", read_only=False, number="8:2")
    assert rows["/data"] == Mount("/data", "nas:/export", "nfs4", read_only=True, number="0:40")
    assert len(rows) == 16, "a torn line is skipped"


def test_an_empty_or_garbled_file_has_no_mounts() -> None:
    assert list(read("")) == []
    assert list(read("a - b\n - \n1 2 3 4 5 6 -\n")) == []


def test_this_machine_s_own_file_is_read() -> None:
    rows = list(read(mounts.MOUNTINFO.read_text()))
    assert any(row.point == "/proc" and row.type == "proc" for row in rows)
