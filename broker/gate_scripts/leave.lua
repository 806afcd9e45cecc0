-- leave: give the pass back, and let the gate learn from how the call came out.
--
-- KEYS  the gate, who is in flight, the minutes' counts (a prefix), the last results, the last
--       first-token times, the last total times, since when each in flight is, the retry budget
-- ARGV  holder, how it came (ok, failed, timed_out, rate_limited, quota, nothing), was_probe (0 or
--       1), first_token_s, total_s, how long it was out even if that says little, retry_after_s
--       ('' where unknown), a number drawn from 0..1, the most that the limit may be
-- Gives what this call did to the gate ('', 'shut', 'reopened'), the reason it is shut for now, and
-- for how many seconds.
--
-- A call that was let in before the gate was shut learns nothing new about it: whatever comes out
-- of the same burst is one decrease of the limit and one closing. It can only make a closing longer
-- when the other side names a later time.
local gate, flight, minutes, results, firsts, totals, since, budget =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local holder, came, was_probe = ARGV[1], ARGV[2], ARGV[3] == '1'
local first_s, total_s, took_s = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local retry_after_s, drawn, LIMIT_MAX = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local KEPT_S, MINUTES_KEPT_S = 86400, 3600
local LIMIT_REOPENED = 4
-- A round that went well adds one to the limit, or this share of a large one.
local GROWTH = 0.05
-- Where fewer than that are in flight, a bad sign says little about how many may be.
local BORNE = 16
local LOWER, LOWER_EVERY_S, LOWEST_WHEN_SLOW, LOWEST = 0.7, 1, 4, 1
local TOO_MANY_KEPT_S = 60
local SLOW, CRAWLING = 2, 4
local WINDOW, WINDOW_S = 20, 30
local SLOW_FROM, JUDGED_FROM, IN_A_ROW = 5, 10, 5
-- So that four of five crawling weigh as much as one of two failed.
local WEIGHT_OF_CRAWLING = 0.625
local SAMPLE, LEARNED_FROM, LEARN_EVERY = 200, 20, 10
local TIMEOUT_MIN_S, TIMEOUT_TIMES, STRETCH_MAX, LONG_TERM_S = 2, 3, 8, 3600
local OPEN_S, OPEN_MAX_S = 1, 15
local TOLD_NOTHING_S, TOLD_NOTHING_MAX_S, TOLD_MIN_S, TOLD_MAX_S = 2, 60, 1, 600
local QUOTA_S, QUOTA_MAX_S, SHUT_MAX_S = 60, 600, 720
local JITTER, JITTER_OF_TOLD = 0.2, 0.05
local EARNED, BUDGET_MAX, BUDGET_KEPT_S = 0.1, 10, 3600

local known = {}
local listed = redis.call('HGETALL', gate)
for i = 1, #listed, 2 do known[listed[i]] = listed[i + 1] end
local function number(name, otherwise) return tonumber(known[name] or otherwise) end

local limit, limit_before = number('limit', LIMIT_MAX), number('limit_before', 0)
local lowered_at, usual_s = number('lowered_at', 0), number('usual_s', 1)
local closed_until, trips = number('closed_until', 0), number('trips', 0)
local reason = known.reason or ''
-- Times that lie further ahead than any may were written before the clock was set back.
if closed_until > now + SHUT_MAX_S then closed_until = 0 end
if lowered_at > now then lowered_at = 0 end
local decides = was_probe and closed_until <= now

local function keep(...)
  redis.call('HSET', gate, ...)
  redis.call('EXPIRE', gate, KEPT_S)
end

local function count(what, by)
  local minute = minutes .. ':' .. math.floor(now / 60)
  redis.call('HINCRBYFLOAT', minute, what, by)
  redis.call('EXPIRE', minute, MINUTES_KEPT_S)
end

local function push(key, value, most)
  redis.call('LPUSH', key, value)
  redis.call('LTRIM', key, 0, most - 1)
  redis.call('EXPIRE', key, KEPT_S)
end

local function told(event)
  return {event, reason, tostring(math.max(0, closed_until - now))}
end

local function study(kind, key)
  local sample = redis.call('LRANGE', key, 0, SAMPLE - 1)
  if #sample == 0 then return end
  for i, each in ipairs(sample) do sample[i] = tonumber(each) end
  table.sort(sample)
  local median, p99 = sample[math.ceil(0.5 * #sample)], sample[math.ceil(0.99 * #sample)]
  if kind == 'total' then keep('usual_s', median) end
  if #sample < LEARNED_FROM then return end
  -- The measure of slowness follows in hours: what is slow today must not be usual in a minute.
  local base_s = number(kind .. '_base_s', median)
  local share = math.min(1, math.max(0, now - number(kind .. '_base_at', now)) / LONG_TERM_S)
  keep(kind .. '_timeout_s', math.max(TIMEOUT_MIN_S, TIMEOUT_TIMES * p99),
       kind .. '_base_s', base_s + share * (median - base_s), kind .. '_base_at', now)
end

local function learn()
  if total_s == nil then return end
  push(totals, total_s, SAMPLE)
  if first_s then push(firsts, first_s, SAMPLE) end
  local seen, was_stretched = number('seen', 0) + 1, number('stretch', 1) > 1
  keep('seen', seen, 'stretch', 1)
  if seen <= LEARNED_FROM or seen % LEARN_EVERY == 0 or was_stretched then
    study('first', firsts)
    study('total', totals)
  end
end

local function speed()
  local base_s = first_s and number('first_base_s', 0) or number('total_base_s', 0)
  local took_s = first_s or total_s or 0
  local times = base_s > 0 and took_s / base_s or 1
  return times > CRAWLING and 'crawling' or times > SLOW and 'slow' or 'ok'
end

local function lately()
  local found = {n = 0, ok = 0, failed = 0, slow = 0, crawling = 0, failed_in_a_row = 0}
  for _, each in ipairs(redis.call('LRANGE', results, 0, WINDOW - 1)) do
    local word, at = each:match('^(%a+):(.+)$')
    if now - tonumber(at) > WINDOW_S then break end
    found.n, found[word] = found.n + 1, found[word] + 1
    if found.failed == found.n then found.failed_in_a_row = found.n end
  end
  local weight = found.failed + WEIGHT_OF_CRAWLING * found.crawling
  local are_half_bad = found.n >= JUDGED_FROM and weight * 2 >= found.n
  found.is_ill = found.failed_in_a_row >= IN_A_ROW or are_half_bad
  found.is_slow = found.n >= SLOW_FROM and (found.slow + found.crawling) * 2 >= found.n
  return found
end

local function lower(lowest)
  -- What is in flight was let in under the old limit, so its results are one sign, not many.
  if reason ~= '' or now - lowered_at < math.max(LOWER_EVERY_S, usual_s) then return end
  -- A limit that nobody comes near has not been tried: what was out is what was too many.
  local tried = math.min(limit, math.max(BORNE, redis.call('ZCARD', flight) + 1))
  limit = math.max(math.min(limit, lowest), tried * LOWER)
  limit_before = math.min(limit_before, limit)
  keep('limit', limit, 'limit_before', limit_before, 'lowered_at', now)
end

local function most_now()
  -- So many at once were too many; for a while it stays below, as each try costs a closing.
  local is_known = math.abs(now - number('too_many_at', 0)) < TOO_MANY_KEPT_S
  return is_known and math.max(LOWEST, number('too_many', LIMIT_MAX) - 1) or LIMIT_MAX
end

local function raise()
  if limit < limit_before then
    -- Still on the way back to what it bore before it was shut.
    limit = math.min(limit_before, limit + 1)
    keep('limit', limit, 'limit_before', limit < limit_before and limit_before or 0)
  elseif limit < most_now() and redis.call('ZCARD', flight) + 1 > limit / 2 then
    keep('limit', math.min(most_now(), limit + math.max(1 / limit, GROWTH)))
  end
end

local function shut(why, first_time_s, most_s, exactly_s)
  local is_fresh = reason == ''
  if is_fresh or decides then trips = trips + 1 end
  local doubled_s = math.min(most_s, first_time_s * 2 ^ (trips - 1)) * (1 + JITTER * drawn)
  local ends = now + (exactly_s or doubled_s)
  if is_fresh then limit_before = math.max(limit_before, limit) end
  if is_fresh or ends > closed_until then closed_until, reason = ends, why end
  keep('closed_until', closed_until, 'reason', reason, 'trips', trips, 'limit_before', limit_before)
  return told(is_fresh and 'shut' or '')
end

local function reopen()
  -- Begin small: everybody who waited is about to come.
  limit = math.min(LIMIT_REOPENED, math.max(limit_before, LOWEST))
  reason, closed_until = '', 0
  keep('limit', limit, 'reason', '', 'closed_until', 0, 'trips', 0)
  redis.call('DEL', results)
  return told('reopened')
end

local function earn()
  -- Who has never failed owes nothing: a full budget is not written down.
  local left = tonumber(redis.call('GET', budget) or BUDGET_MAX)
  if left >= BUDGET_MAX then return end
  redis.call('SET', budget, tostring(math.min(BUDGET_MAX, left + EARNED)), 'EX', BUDGET_KEPT_S)
end

local function came_ok()
  local word = speed()
  count('ok', 1)
  if took_s then count('busy_s', took_s) end
  earn()
  if word ~= 'ok' then count('slow', 1) end
  learn()
  if reason ~= '' then return decides and reopen() or told('') end
  push(results, word .. ':' .. now, WINDOW)
  if word == 'ok' then
    raise()
    return told('')
  end
  local found = lately()
  if word == 'crawling' and found.is_ill then return shut('slow', OPEN_S, OPEN_MAX_S) end
  if found.is_slow then lower(LOWEST_WHEN_SLOW) end
  return told('')
end

local function came_failed(is_timeout)
  count('failed', 1)
  push(results, 'failed:' .. now, WINDOW)
  if is_timeout then
    keep('stretch', math.min(STRETCH_MAX, number('stretch', 1) * 2))
    lower(LOWEST_WHEN_SLOW)
  end
  if decides or reason == '' and lately().is_ill then return shut('breaker', OPEN_S, OPEN_MAX_S) end
  return told('')
end

local function came_rate_limited()
  count('rate_limited', 1)
  if reason == '' then keep('too_many', redis.call('ZCARD', flight) + 1, 'too_many_at', now) end
  lower(LOWEST)
  -- Bounded from both sides, and in this order also where it is no number at all.
  local exactly_s = retry_after_s
    and math.max(TOLD_MIN_S, math.min(TOLD_MAX_S, retry_after_s)) * (1 + JITTER_OF_TOLD * drawn)
  return shut('rate_limited', TOLD_NOTHING_S, TOLD_NOTHING_MAX_S, exactly_s)
end

redis.call('ZREM', flight, holder)
redis.call('ZREM', since, holder)
if known.probe == holder then keep('probe', '', 'probe_until', 0) end
if came == 'ok' then return came_ok() end
if came == 'rate_limited' then return came_rate_limited() end
if came == 'quota' then
  count('quota', 1)
  return shut('quota', QUOTA_S, QUOTA_MAX_S)
end
if came == 'nothing' then return told('') end
return came_failed(came == 'timed_out')
