"""The fault battery: what kills, full disks, bit flips and races leave of a run; `make test-faults`."""
