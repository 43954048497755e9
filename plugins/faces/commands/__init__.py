"""The commands of the faces plugin: a trained run used on pictures of people who agreed to it."""
