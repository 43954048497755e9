"""The check of a program's first run: faults that would make its gradient wrong without any other sign.

Refused, with the user's line:

- a cost without the sample axis (or, under the score function, without the batch axes) that depends on a draw with it;
- a recorded draw, cost or distribution that is changed in place afterwards;
- a draw under `torch.no_grad()` that depends on a parameter;
- a cost that depends on a draw, but by no gradient: `.detach()`, `.numpy()`, `.item()`, `torch.tensor(x.tolist())`.

Reported, and the estimate calls itself biased: a cost that jumps in a draw whose path is differentiated, or in a
parameter at a random place; one that only a part of the gradient reaches; one that depends on a parameter's value taken
out of torch (`.item()`); `gumbel_softmax(hard=True)`; and, of draws that follow the score function, a cost of one
sample or one datum that depends on the draws of others (`x.mean()`, a batch's statistics, pairs), which `exact`
refuses, and a penalty that depends on a draw. By any kind of rule: a sample that costs something else when it is run
alone, because the program branches on several samples at once (`if (x > 1).any()`).

A comparison, a rounding or a branch does not make a jump by itself: `watch` notes where they are, and `replay` runs the
program again with the draws on both sides of each to see whether a cost jumps.

A warning says where a parameter is compared with noise that torch did not draw, and where a draw's sample axis meets a
constant that is as long as there are samples, and the program runs with no other number of them.

The first run by each kind of rule is watched. Only where such a line is found is the program run again, without record
(`context.dry_run` is true) and from random streams of its own; the generators and running statistics that its function
holds are as before afterwards (`framework.outside_state`), and whatever else it does outside happens once more.

Not seen: what a function compiled by `torch.jit.script` does inside, a jump by division (`y / y.abs()`), and detached
parameters, which are taken to be meant.

`Program(..., checked=False)`, `framework.estimate(..., checked=False)` and a task's `checked = False` do without.
"""
