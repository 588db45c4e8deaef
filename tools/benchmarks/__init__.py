"""`make bench`: the replicator measured against its peers in one run. See docs/PERFORMANCE.md.

__main__                all clients in turns (clients, site, servers, series: what they need)
measure, worker         one client with one workload
figures, report, picture
                        medians and limits, the page, and its picture
parallel, execution     one large object: in parts, and by the state machine
simulation              `make simulate`: the same over modelled stores (machine, modelled)
reconcile               `make bench RECONCILE=1`
"""
