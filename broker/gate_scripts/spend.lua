-- spend: take one failure from a retry budget; gives what is left, between 0 and 10.
--
-- KEYS  the budget
-- A budget that nobody has taken from for an hour is full. Calls that go well pay back (leave.lua).
local BUDGET_MAX, SPENT, KEPT_S = 10, 1, 3600
local left = math.max(0, tonumber(redis.call('GET', KEYS[1]) or BUDGET_MAX) - SPENT)
redis.call('SET', KEYS[1], tostring(left), 'EX', KEPT_S)
return tostring(left)
