"""The Lua scripts that keep the tallies of all processes on the server, in a hash for each minute."""

from .scripts import ASK
from .scripts import Script

# Names begin as that of KEYS[1] does, which is what is due: so all have one slot. "tally:minutes" has the minutes that
# are kept; the hash of a minute is dropped when it is too old, and by the server if nobody comes to do that. The totals
# stay. Another kind of value under one of these names is somebody else's mistake, and makes room.
_COMMON = (
    ASK
    + r"""
local BASE = string.sub(KEYS[1], 1, -4)
local MINUTES, TOTAL = BASE .. 'tally:minutes', BASE .. 'tally:total'

local function hash_of(minute) return BASE .. 'tally:' .. minute end

local function make_room(verb, key)
  if ask(verb, key) == nil then redis.call('UNLINK', key) end
end
"""
)

# ARGV: the minute, the first that is kept, a mark, then names and amounts. A client that got no answer sends it again:
# the mark tells that it was done.
ADD = Script(
    _COMMON
    + r"""
local DAY, WHILE = 86400000, 600000
local minute, oldest, marks = tonumber(ARGV[1]), tonumber(ARGV[2]), BASE .. 'tally:marks:' .. ARGV[1]
make_room('HLEN', marks)
if redis.call('HSETNX', marks, ARGV[3], '1') == 0 then return 0 end
redis.call('PEXPIRE', marks, WHILE)
make_room('ZCARD', MINUTES)
local keys = {TOTAL}
if minute >= oldest then
  redis.call('ZADD', MINUTES, minute, ARGV[1])
  keys[2] = hash_of(ARGV[1])
end
for _, key in ipairs(keys) do
  make_room('HLEN', key)
  for i = 4, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
end
if keys[2] then redis.call('PEXPIRE', keys[2], DAY + WHILE) end
redis.call('PEXPIRE', MINUTES, DAY + WHILE)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', MINUTES, '-inf', oldest - 1)) do
  redis.call('UNLINK', hash_of(old))
  redis.call('ZREM', MINUTES, old)
end
return 1
"""
)

# ARGV: the first minute that is wanted. Returns the minutes from then on.
MINUTES = Script(
    _COMMON
    + r"""
return ask('ZRANGEBYSCORE', MINUTES, ARGV[1], '+inf') or {}
"""
)

# ARGV: minutes. Returns the names and amounts of each.
READ = Script(
    _COMMON
    + r"""
local reply = {}
for i, minute in ipairs(ARGV) do reply[i] = ask('HGETALL', hash_of(minute)) or {} end
return reply
"""
)

TOTALS = Script(_COMMON + "return ask('HGETALL', TOTAL) or {}")
