"""Set before grpc is imported: no fork handlers of its own, for the job tests fork from the process that serves."""

import os

# With them grpc starts its threads again in each forked job, whose descriptors are closed: the job aborts now and then.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # noqa: TID251 - the rim: read by grpc, once, at its import
