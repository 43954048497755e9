"""REBAR and RELAX: the score function less a control variate that is relaxed or learned."""
