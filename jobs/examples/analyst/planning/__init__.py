"""How the offline planner thinks: columns it can use, the question, the queries, the sentences."""
