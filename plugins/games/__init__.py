"""Game agents: a policy, an environment of many games at once, and a gradient averaged over episodes."""

from framework.plugin import Plugin

plugin = Plugin(
    name="games",
    summary="Agents that learn to play: games in torch and any environment of gymnasium.",
    tasks={"game": "plugins.games.task:Game"},
    environments={
        "cart_pole": "plugins.games.environments.native.cart_pole:CartPole",
        "cart_pole_smooth": "plugins.games.environments.native.cart_pole:SmoothCartPole",
        "pendulum": "plugins.games.environments.native.pendulum:Pendulum",
        "acrobot": "plugins.games.environments.native.acrobot:Acrobot",
        "mountain_car": "plugins.games.environments.native.mountain_car:MountainCar",
        "key_door": "plugins.games.environments.native.key_door:KeyDoor",
        "snake": "plugins.games.environments.native.snake:Snake",
        "bricks": "plugins.games.environments.native.bricks:Bricks",
        "gold_rush": "plugins.games.environments.native.gold_rush:GoldRush",
    },
    **{
        "check.subjects": {
            "environment": "plugins.games.commands.check_environment:run",
            "games": "plugins.games.commands.memory:run",
        },
    },
    needs={"tasks.game": "plugins.games.needs:needs"},
    renamed={
        "tasks.game": {
            "see": "observation_indices",
            "log_spread": "log_std_init",
            "lives_end": "terminal_on_life_loss",
            "sticky": "repeat_action_probability",
        }
    },
)
