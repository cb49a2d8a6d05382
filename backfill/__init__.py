"""Move a company's history into Customer.io, every row accounted for."""
