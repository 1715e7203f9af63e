"""How fast this machine is: each stage of a fit beside the machine's own limit, and growth."""
