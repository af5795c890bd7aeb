"""Why an agent does not answer: step by step from its name to its clock, and the first that fails is the one."""
