"""A mesh to play with: three nodes, two mock providers each, traffic, and a page of switches.

`plan` says what it consists of, `mesh` owns the processes, `switches` is what can be turned, `traffic` makes
the calls, `control` and `page` are the page, `run` puts them together, `remote` turns switches from outside.
"""
