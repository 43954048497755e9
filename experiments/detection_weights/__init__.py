"""The weights of `task.init_from=pretrained`: the scenes they learn, their training, and what they are worth."""
