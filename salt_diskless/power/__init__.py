"""Nodes switched on and off by their BMCs: ``bmcs`` and ``apart`` are the boot server's part,
``waves`` and ``remote`` the master's. How to speak with a BMC, Salt's extension saltext.bmc
knows."""
