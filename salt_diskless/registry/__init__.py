"""The machines that announced themselves, on the master: pending, then accepted or rejected.

Knows no Salt. :mod:`store` keeps it, :mod:`announcement` says what an event may say, :mod:`listed`
what the pillar has by hand, :mod:`allocate`, :mod:`rules` and :mod:`decide` who becomes what, and
:mod:`deliver` tells the boot servers.
"""
