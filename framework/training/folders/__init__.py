"""The folders of runs and sweeps: their files, who may write them, and what is believed of a stranger's."""
