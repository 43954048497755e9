"""Estimators that compare coupled runs of a program: ARM, DisARM, measure-valued, REBAR, RELAX."""
