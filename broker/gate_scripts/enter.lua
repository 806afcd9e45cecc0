-- enter: may this holder make a call now, and if not, when should it come back?
--
-- KEYS  the gate, who is in flight, who waits (by when it first asked), when each of those is due,
--       the minutes' counts (a prefix), since when each in flight is, when each that waits is due by
--       rank, the names of all gates
-- ARGV  dependency, holder (its tenant, a colon, and the rest), lease_s, is_first_try (0 or 1), a number
--       drawn from 0..1, the first limit, the rank of the holder (0 is the most urgent), how many seconds
--       it has left ('' for any number)
-- Gives answer, wait_s, reason, first_token_s, total_s; the last two are '' until they are learned.
--
-- The line only tells when to come back: whoever is turned away keeps its place in it by when it first
-- asked, behind nobody who is less urgent, and a later place is a later time; but everybody is told to come
-- while there is still time for the call, and who has no such time has no place. A free pass goes to whoever
-- is there to take it, because one that is kept for somebody is a call less. Only for those of a more urgent
-- rank who are about to come is one kept, and one time in twenty not even then, so that no rank starves. In a
-- rank it is kept for those about to come whose tenant has fewer calls out than this one's; otherwise, who is
-- sent first is decided where the steps are dispatched. LATE_S after its time a place is forgotten.
--
-- A dependency that has become slow is noticed while its answers are still awaited: when at least half of
-- the calls in flight have been out for OVERDUE_TIMES of what they took in the long run, nobody follows
-- them. The limit itself is lowered when the answers come (leave.lua).
local gate, flight, line, due, minutes, since, ranks, names =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local dependency, holder, lease_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
local is_first, drawn, first_limit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local rank, left_s = tonumber(ARGV[7]), tonumber(ARGV[8])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local KEPT_S, MINUTES_KEPT_S = 86400, 3600
local PROBE_MAX_S, SHUT_MAX_S, NEW_ONES_FIRST_S = 30, 720, 2
local OVERDUE_TIMES, OVERDUE_ENOUGH = 3, 4
local WAIT_MIN_S, WAIT_MAX_S, JITTER = 0.1, 25, 0.2
-- Nobody is sent away for much longer than calls take: passes come free all the time.
local WAIT_SHORT_S, WAIT_TIMES = 0.5, 2
local LATE_S, FORGOTTEN_AT_ONCE, LINE_MAX = 30, 100, 10000
-- Far more seconds than any time has, so that each rank has a range of its own.
local RANK, SOON_S, GRACE_S, SHARE_OF_ANY = 1e11, 0.5, 1, 0.05
-- So many of those in flight, and of those about to come, are looked at to see whose they are.
local FLIGHT_SEEN, COMING_SEEN = 200, 50

local known = redis.call('HMGET', gate, 'limit', 'closed_until', 'reason', 'probe', 'probe_until',
                         'usual_s', 'first_timeout_s', 'total_timeout_s', 'stretch',
                         'total_base_s')
local limit = tonumber(known[1] or first_limit)
local closed_until = tonumber(known[2] or 0)
local reason, probe = known[3] or '', known[4] or ''
local probe_until = tonumber(known[5] or 0)
local usual_s = tonumber(known[6] or 1)
local stretch = tonumber(known[9] or 1)
-- A time that lies further ahead than any may was written before the clock was set back.
if closed_until > now + SHUT_MAX_S then closed_until = 0 end
if probe_until > now + PROBE_MAX_S then probe_until = 0 end

local function tidy()
  redis.call('ZADD', names, now, dependency)
  redis.call('EXPIRE', names, KEPT_S)
  if not known[1] then redis.call('HSET', gate, 'limit', first_limit) end
  redis.call('EXPIRE', gate, KEPT_S)
  -- Who asks has no call out: what still lies there was its worker's, and that is gone.
  local gone = {holder}
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', flight, '-inf', now)) do gone[#gone + 1] = each end
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', flight, now + KEPT_S + 1, '+inf')) do
    gone[#gone + 1] = each
  end
  for _, each in ipairs(gone) do
    redis.call('ZREM', flight, each)
    redis.call('ZREM', since, each)
  end
  local late = redis.call('ZRANGEBYSCORE', due, '-inf', now - LATE_S, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  for _, each in ipairs(late) do
    if each ~= holder then
      redis.call('ZREM', due, each)
      redis.call('ZREM', ranks, each)
      redis.call('ZREM', line, each)
    end
  end
end

local function count(what, by)
  local minute = minutes .. ':' .. math.floor(now / 60)
  redis.call('HINCRBY', minute, what, by)
  redis.call('EXPIRE', minute, MINUTES_KEPT_S)
end

local function answered(answer, wait_s, why)
  local function timeout(seconds) return seconds and tostring(tonumber(seconds) * stretch) or '' end
  return {answer, tostring(wait_s), why, timeout(known[7]), timeout(known[8])}
end

local function count_up_to(last, within_s)
  -- Who waits in the ranks up to this one and is due within such a time.
  local found = 0
  for each = 0, last do
    local at = each * RANK + now
    found = found + redis.call('ZCOUNT', ranks, at - GRACE_S, at + within_s)
  end
  return found
end

local function step_out()
  redis.call('ZREM', line, holder)
  redis.call('ZREM', due, holder)
  redis.call('ZREM', ranks, holder)
end

local function let_in(answer)
  step_out()
  redis.call('ZADD', flight, now + math.min(lease_s, KEPT_S), holder)
  redis.call('ZADD', since, now, holder)
  redis.call('EXPIRE', flight, KEPT_S)
  redis.call('EXPIRE', since, KEPT_S)
  count('calls', 1)
  count('firsts', is_first)
  return answered(answer, 0, '')
end

local function turn_away(answer, why, until_it_moves_s, at_once, each_s)
  local before = redis.call('ZRANK', line, holder) or redis.call('ZCARD', line)
  local place = math.min(before, count_up_to(rank, KEPT_S))
  local turn_s = (place + 1) / (at_once or limit) * (each_s or usual_s)
  local most_s = WAIT_MAX_S
  if answer == 'full' then
    most_s = math.min(most_s, math.max(WAIT_SHORT_S, WAIT_TIMES * (each_s or usual_s)))
  end
  local spread_s = math.max(WAIT_MIN_S, math.min(most_s, turn_s)) * (1 + JITTER * drawn)
  local wait_s = until_it_moves_s + spread_s
  local latest_s = left_s and left_s - usual_s
  if answer == 'full' and latest_s then
    wait_s = math.max(WAIT_MIN_S, math.min(wait_s, latest_s))
  end
  if latest_s and wait_s > latest_s then
    step_out()
  elseif before < LINE_MAX then
    redis.call('ZADD', line, 'NX', now, holder)
    redis.call('ZADD', due, now + wait_s, holder)
    redis.call('ZADD', ranks, rank * RANK + now + wait_s, holder)
    redis.call('EXPIRE', ranks, KEPT_S)
    redis.call('EXPIRE', line, KEPT_S)
    redis.call('EXPIRE', due, KEPT_S)
  end
  count('turned_away', 1)
  return answered(answer, wait_s, why)
end

local function whose(name) return name:match('^[^:]*') end

local function of_tenants_with_less()
  local from = rank * RANK + now
  local coming =
    redis.call('ZRANGEBYSCORE', ranks, from - GRACE_S, from + SOON_S, 'LIMIT', 0, COMING_SEEN)
  if #coming == 0 then return 0 end
  local out = {}
  for _, each in ipairs(redis.call('ZRANGE', flight, 0, FLIGHT_SEEN - 1)) do
    out[whose(each)] = (out[whose(each)] or 0) + 1
  end
  local own, kept = out[whose(holder)] or 0, 0
  for _, each in ipairs(coming) do
    -- As many as would bring that tenant to where this one is.
    local theirs = out[whose(each)] or 0
    if theirs < own then out[whose(each)], kept = theirs + 1, kept + 1 end
  end
  return kept
end

tidy()
if closed_until > now then
  return turn_away('closed', reason, closed_until - now)
end
if reason ~= '' then
  -- The time is over, but whether the other side is well again only a call can tell: one call,
  -- and another only when that one has been silent for so long that its worker may be dead.
  if probe ~= '' and probe ~= holder and probe_until > now then
    return turn_away('closed', reason, math.min(usual_s, probe_until - now))
  end
  -- A call that failed already is the probe only where nobody comes with a new one: an outage must
  -- not be asked the same again and again.
  if is_first == 0 and probe ~= holder and now < closed_until + NEW_ONES_FIRST_S then
    return turn_away('closed', reason, closed_until + NEW_ONES_FIRST_S - now)
  end
  redis.call('HSET', gate, 'probe', holder, 'probe_until', now + math.min(lease_s, PROBE_MAX_S))
  return let_in('probe')
end
local in_flight = redis.call('ZCARD', flight)
if known[10] then
  local overdue_s = OVERDUE_TIMES * tonumber(known[10])
  local overdue = redis.call('ZCOUNT', since, '-inf', now - overdue_s)
  if overdue >= OVERDUE_ENOUGH and overdue * 2 >= in_flight then
    local oldest = redis.call('ZRANGE', since, 0, 0, 'WITHSCORES')
    return turn_away('full', 'slow', 0, in_flight, math.max(usual_s, now - tonumber(oldest[2])))
  end
end
local free = math.floor(limit) - in_flight
if free > 0 and (drawn < SHARE_OF_ANY or free > count_up_to(rank - 1, SOON_S) + of_tenants_with_less()) then
  return let_in('go')
end
return turn_away('full', 'limit', 0)
