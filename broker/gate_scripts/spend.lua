-- spend: take from a retry budget or pay into it; gives what is left, between 0 and 10.
--
-- KEYS  the budget
-- ARGV  how much to add
-- A budget that nobody has touched for an hour is full.
local BUDGET_MAX, KEPT_S = 10, 3600
local left = tonumber(redis.call('GET', KEYS[1]) or BUDGET_MAX) + tonumber(ARGV[1])
left = math.max(0, math.min(BUDGET_MAX, left))
redis.call('SET', KEYS[1], tostring(left), 'EX', KEPT_S)
return tostring(left)
