"""`make soak`: many changes, several runtimes, faults and kills; then both sides are compared.

run                     one run: its parts (options, cloud, changes, keys) and their order
writer, event_shuffler  make the changes, and deliver their events badly
fault_injector, gcs     faults and outages; process_killer kills runtimes
monitor, comparison     what must be true during the run, and after it
stats, report, picture  what happened
"""
