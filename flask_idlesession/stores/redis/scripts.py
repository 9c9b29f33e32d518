"""The Lua scripts by which Redis and Valkey do each verb in one step.

A session is a hash, as ``format`` says. Beside it stands a sorted set, ``due``: all sessions by when :meth:`prune` must
look at them. Each user has a set of that user's sessions. Neither says more than where to look: the head is the truth.
Where a cluster spreads the keys, a session and its entries in both sets have the same slot, so that one script reaches
them all. How sessions ended stands in two hashes, of which the older goes whole.

Somebody else may have written under any of these names, and a server that is short of memory may have forgotten any of
them. So no script believes that what it finds is of the right kind, and each touch files its session again where that
is missing.
"""

import hashlib


class Script:
    """A script's text and the hash by which a server knows it."""

    __slots__ = ("text", "sha")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


# Call a command for a key; nil if something of another kind has the key's name.
ASK = r"""
local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return nil end
  return redis.call(...)  -- Which raises the error as the client knows it.
end
"""

# Functions that the scripts share. KEYS[1] is the sorted set of what is due, KEYS[2] a session or a user's set; the
# names of all keys begin as theirs do.
_COMMON = (
    ASK
    + r"""
local DUE = KEYS[1]
local BASE = string.sub(DUE, 1, -4)
local HEAD, LABELS = '\255', '\254'
local FORMAT = '<Bddddddc16c32Bc0Bc0'

local function key_of(sid) return BASE .. 'session:' .. sid end
local function sid_of(key) return string.sub(key, #BASE + 9) end
local function set_of(owner) return BASE .. 'user:' .. string.sub(owner, 2) end

-- Return a session's head; false if there is no session, and "" if what is there is none.
local function head_of(key)
  local head = ask('HGET', key, HEAD)
  if head then return head end
  return redis.call('EXISTS', key) == 1 and ''
end

-- Return what a head says; nil if this version did not write it.
local function read(head)
  local s, is_whole, after = {}
  is_whole, s.version, s.seen, s.idle, s.lifetime, s.refresh, s.created, s.former_ends,
    s.sid, s.marks, s.secret, s.former, after = pcall(struct.unpack, FORMAT, head)
  if not is_whole or s.version ~= 1 then return nil end
  s.owner = string.sub(head, after)
  s.expires = math.min(s.seen + s.idle, s.lifetime, s.refresh)
  return s.expires == s.expires and s or nil
end
"""
)

# Redis's own expiry only collects what nobody prunes any more: a day after the session's end. It is put off when
# half of that day is gone, so that few touches need to. Each set lives as long as the longest of its sessions.
_KEEP = r"""
local SLACK, FOREVER = 86400000, 1e9

local function ttl_of(s, now)
  local left = s.expires - now
  return left < FOREVER and math.floor(math.max(left, 0) * 1000) + SLACK or nil
end

local function enter(set, ttl, verb, ...)
  local before = redis.call('PTTL', set)
  if not ask(verb, set, ...) then
    redis.call('UNLINK', set)
    redis.call(verb, set, ...)
    before = -2
  end
  if not ttl then
    redis.call('PERSIST', set)
  elseif before ~= -1 and before < ttl then
    redis.call('PEXPIRE', set, ttl)
  end
end

local function file(sid, s, ttl)
  enter(DUE, ttl, 'ZADD', 'LT', string.format('%.17g', s.expires), sid)
end

local function own(sid, s, ttl)
  if s.owner == '' then return end
  local set = set_of(s.owner)
  enter(set, ttl, 'SADD', sid)
  for _, other in ipairs(redis.call('SRANDMEMBER', set, 2)) do
    if other ~= sid and redis.call('EXISTS', key_of(other)) == 0 then redis.call('SREM', set, other) end
  end
end
"""

_FORGET = r"""
local function forget(sid, owner)
  ask('ZREM', DUE, sid)
  if owner ~= '' then ask('SREM', set_of(owner), sid) end
  return redis.call('UNLINK', key_of(sid))
end
"""

# ARGV: head, its mark, then fields and values. A client that got no answer sends it again: the mark tells that what it
# finds is its own. The sets come first. A cluster that is moving the keys can make the script fail halfway: then a set
# names too much, which later scripts put right, and never too little.
CREATE = Script(
    _COMMON
    + _KEEP
    + r"""
local key = KEYS[2]
local sid, head = sid_of(key), ARGV[1]
local found = head_of(key)
if found then
  local before = read(found)
  return before and string.find(before.marks, ARGV[2], 1, true) and 1 or 0
end
local s = read(head)
local ttl = ttl_of(s, math.max(s.seen, s.created))
file(sid, s, ttl)
own(sid, s, ttl)
redis.call('HSET', key, HEAD, head)
for i = 3, #ARGV, 1000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 999, #ARGV))) end
if ttl then redis.call('PEXPIRE', key, ttl) end
return 1
"""
)

# A head with new times, secrets or owner, and with it what depends on those: also where the server forgot that.
_WRITE = r"""
local function write(key, s, now, expired, owned)
  s.expires = math.min(s.seen + s.idle, s.lifetime, s.refresh)
  local sid = sid_of(key)
  local ttl, kept = ttl_of(s, now), redis.call('PTTL', key)
  local stale = s.owner ~= owned or (ttl and kept < ttl - SLACK / 2) or (not ttl and kept ~= -1)
  if stale or s.expires < expired or not ask('ZSCORE', DUE, sid) then file(sid, s, ttl) end
  if stale or s.owner ~= '' and ask('SISMEMBER', set_of(s.owner), sid) ~= 1 then own(sid, s, ttl) end
  redis.call('HSET', key, HEAD, struct.pack(FORMAT, s.version, s.seen, s.idle, s.lifetime, s.refresh, s.created,
    s.former_ends, s.sid, s.marks, #s.secret, s.secret, #s.former, s.former) .. s.owner)
  if stale and ttl then redis.call('PEXPIRE', key, ttl) end
  if stale and not ttl then redis.call('PERSIST', key) end
  if owned ~= '' and s.owner ~= owned then ask('SREM', set_of(owned), sid) end
end
"""

# The labels that the delta leaves, then those of the delta; each name and each value follows its length.
_RELABEL = r"""
local function relabelled(labels, delta)
  local parts, told, at = {}, {}, 1
  while at <= #delta do
    local name, value, after = struct.unpack('<I4c0I4c0', delta, at)
    told[name] = true
    if value ~= '' then parts[#parts + 1] = string.sub(delta, at, after - 1) end
    at = after
  end
  at = 1
  while at <= #labels do
    local name, _, after = struct.unpack('<I4c0I4c0', labels, at)
    if not told[name] then parts[#parts + 1] = string.sub(labels, at, after - 1) end
    at = after
  end
  return table.concat(parts)
end
"""

# ARGV: what to_arguments() makes. It does what Record.judge and Record.apply say. The last four marks tell a change
# that was made already, of which the answer was lost.
COMMIT = Script(
    _COMMON
    + _KEEP
    + _WRITE
    + _FORGET
    + _RELABEL
    + r"""
local DONE, GONE, CONFLICT, EMPTIED = 0, 1, 2, 3
local key, mark = KEYS[2], ARGV[2]
local now, seen, idle, refresh, lifetime, grace, rotates, ends, held, absent, written, removed, after =
  struct.unpack('<ddddddBBI4I4I4I4', ARGV[1])
local holder = string.sub(ARGV[1], after)

local head = head_of(key)
local s = head and read(head)
if not s then return GONE end
if mark ~= '' and string.find(s.marks, mark, 1, true) then return DONE end

if now >= s.expires then return GONE end
if holder ~= s.secret then
  if now >= s.former_ends or holder ~= s.former then return GONE end
  if rotates == 1 and grace == grace then return CONFLICT end
end
local at = 3
for i = at, at + held - 1, 2 do
  if redis.call('HGET', key, ARGV[i]) ~= ARGV[i + 1] then return CONFLICT end
end
at = at + held
for i = at, at + absent - 1 do
  if redis.call('HEXISTS', key, ARGV[i]) == 1 then return CONFLICT end
end
at = at + absent
local from, to = at + written, at + written + removed - 1
if ends == 1 and written == 0 then
  local left = redis.call('HLEN', key) - 1 - redis.call('HEXISTS', key, LABELS)
  for i = from, to do left = left - redis.call('HEXISTS', key, ARGV[i]) end
  if left == 0 then
    forget(sid_of(key), s.owner)
    return EMPTIED
  end
end

local expired, owned = s.expires, s.owner
s.seen = math.max(s.seen, math.min(seen, now))
if idle == idle then s.idle = idle end
if refresh == refresh then s.refresh = refresh end
if lifetime == lifetime then s.lifetime = lifetime end
if rotates == 1 then
  s.former, s.former_ends = '', 0
  if grace == grace then s.former, s.former_ends = s.secret, grace end
  s.secret, s.owner = ARGV[to + 1], ARGV[to + 2]
end
s.marks = mark .. string.sub(s.marks, 1, 32 - #mark)
write(key, s, now, expired, owned)
local delta = ARGV[to + 1 + 2 * rotates]
if delta then
  local labels = relabelled(redis.call('HGET', key, LABELS) or '', delta)
  if labels ~= '' then redis.call('HSET', key, LABELS, labels) else redis.call('HDEL', key, LABELS) end
end
for i = at, from - 1, 1000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 999, from - 1))) end
for i = from, to, 1000 do redis.call('HDEL', key, unpack(ARGV, i, math.min(i + 999, to))) end
return DONE
"""
)

# ARGV: now and the instant to refresh by (not a number: none is told), and the holder's digest after them. It touches
# the session and returns its key and after it all fields, or none if the holder does not open it: a field's length, its
# value's, then both. Of a session that cannot be read it returns an empty head. The answer is one text, because a
# client in pure Python takes longer over each element of a list.
VISIT = Script(
    _COMMON
    + _KEEP
    + _WRITE
    + r"""
local key = KEYS[2]
local now, refresh, after = struct.unpack('<dd', ARGV[1])
local holder = string.sub(ARGV[1], after)
local head = head_of(key)
if not head then return key end
local s = read(head)
if not s then return key .. struct.pack('<I4I4', 1, 0) .. HEAD end
if now >= s.expires then return key end
if holder ~= s.secret and (now >= s.former_ends or holder ~= s.former) then return key end
local expired = s.expires
s.seen = math.max(s.seen, now)
if refresh == refresh and s.refresh < math.huge then s.refresh = refresh end
write(key, s, now, expired, s.owner)
local parts, fields = {key}, redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  parts[#parts + 1] = struct.pack('<I4I4', #fields[i], #fields[i + 1])
  parts[#parts + 1] = fields[i]
  parts[#parts + 1] = fields[i + 1]
end
return table.concat(parts)
"""
)

DELETE = Script(
    _COMMON
    + _FORGET
    + r"""
local head = head_of(KEYS[2])
local s = head and read(head)
return forget(sid_of(KEYS[2]), s and s.owner or '')
"""
)

# It returns the head of a session, or nothing, after the session's key.
HEAD_OF = Script(_COMMON + "return KEYS[2] .. (head_of(KEYS[2]) or '')")

# A listed session is two elements of the reply: a head, and the labels or nothing.
_TELL = r"""
local function tell(reply, head, key)
  reply[#reply + 1] = head
  reply[#reply + 1] = redis.call('HGET', key, LABELS) or ''
end
"""

# ARGV: ids. Returns heads and labels of those that were there, but for what cannot be read.
DELETE_MANY = Script(
    _COMMON
    + _FORGET
    + _TELL
    + r"""
local reply = {}
for _, sid in ipairs(ARGV) do
  local head = head_of(key_of(sid))
  local s = head and read(head)
  if s then tell(reply, head, key_of(sid)) end
  if head then forget(sid, s and s.owner or '') end
end
return reply
"""
)

# ARGV: owner, cursor. Returns the next cursor, then heads and labels. An entry whose session cannot be read stays: a
# newer version may have written it.
FIND_USER = Script(
    _COMMON
    + _TELL
    + r"""
local page = ask('SSCAN', KEYS[2], ARGV[2], 'COUNT', 1000) or {'0', {}}
local reply = {page[1]}
for _, sid in ipairs(page[2]) do
  local head = head_of(key_of(sid))
  local s = head and read(head)
  if s and s.owner == ARGV[1] then
    tell(reply, head, key_of(sid))
  elseif s or not head then
    redis.call('SREM', KEYS[2], sid)
  end
end
return reply
"""
)

# ARGV: cursor. Returns the next cursor, then heads and labels.
FIND = Script(
    _COMMON
    + _TELL
    + r"""
local page = ask('ZSCAN', DUE, ARGV[1], 'COUNT', 200) or {'0', {}}
local reply = {page[1]}
for i = 1, #page[2], 2 do
  local key = key_of(page[2][i])
  local head = head_of(key)
  if head and read(head) then tell(reply, head, key) end
end
return reply
"""
)

# ARGV: a pattern for the keys of sessions, an owner or "all", cursor. Returns the next cursor, then heads and labels:
# of all sessions, or that owner's, whether or not anything lists them. A client that may not look finds none.
FIND_UNLISTED = Script(
    _COMMON
    + _TELL
    + r"""
local page = redis.pcall('SCAN', ARGV[3], 'MATCH', ARGV[1], 'COUNT', 1000)
if page.err then
  return (string.find(page.err, 'permission') or string.find(page.err, "can't run")) and {'0'} or page
end
local reply = {page[1]}
for _, key in ipairs(page[2]) do
  local head = head_of(key)
  local s = head and read(head)
  if s and (ARGV[2] == 'all' or s.owner == ARGV[2]) then tell(reply, head, key) end
end
return reply
"""
)

# It returns what the server does when it is short of memory; nothing if the client may not know.
POLICY = Script(r"""
local said = redis.pcall('INFO', 'memory')
return type(said) == 'string' and string.match(said, 'maxmemory_policy:(%S+)') or ''
""")

_NEXT = r"""
local function next_due()
  local first = ask('ZRANGE', DUE, 0, 0, 'WITHSCORES') or {}
  if not first[1] or first[2] == 'inf' then return '' end
  return struct.pack('<d', tonumber(first[2]))
end
"""

# The younger hash takes the older's place, which goes whole, when it is full; or when Redis would collect it too soon
# for what comes now: it lives for twice as long as what it was made for, and an hour.
_BURY = r"""
local function bury(younger, older, kept, limit, graves, from)
  local HOUR, left = 3600000, redis.call('PTTL', younger)
  local count = left ~= -2 and ask('HLEN', younger)
  if count == nil then redis.call('UNLINK', younger) end
  if count and (left < kept + HOUR / 2 or count >= limit) then
    redis.call('UNLINK', older)
    redis.call('RENAME', younger, older)
    count = nil
  end
  for i = from, #graves, 1000 do redis.call('HSET', younger, unpack(graves, i, math.min(i + 999, #graves))) end
  if not count then redis.call('PEXPIRE', younger, 2 * kept + HOUR) end
end
"""

# KEYS: what is due, and the two hashes of endings. ARGV: now, limit, for how many seconds the endings are remembered,
# and how many are too many for the younger hash. Returns when something is due next, then heads and labels of what was
# forgotten. It looks at no more than 256 besides, which were touched since their turn was noted: a caller that got none
# is to ask again. A full server forgets sessions, and does not remember how they ended.
PRUNE = Script(
    _COMMON
    + _FORGET
    + _TELL
    + _NEXT
    + _BURY
    + r"""
local IDLE, LIFETIME, UNREADABLE = 0, 1, 3600
local now, limit, kept = struct.unpack('<d', ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local reply, graves = {''}, {}
local last = string.format('%.17g', now)
for _, sid in ipairs(ask('ZRANGEBYSCORE', DUE, '-inf', last, 'LIMIT', 0, limit + 256) or {}) do
  local head = head_of(key_of(sid))
  local s = head and read(head)
  if not head then
    redis.call('ZREM', DUE, sid)
  elseif not s then
    redis.call('ZADD', DUE, string.format('%.17g', now + UNREADABLE), sid)
  elseif now < s.expires then
    redis.call('ZADD', DUE, string.format('%.17g', s.expires), sid)
  elseif #reply <= 2 * limit then
    tell(reply, head, key_of(sid))
    forget(sid, s.owner)
    local reason = s.lifetime <= s.expires and LIFETIME or IDLE
    graves[#graves + 1] = s.sid
    graves[#graves + 1] = struct.pack('<c16ddBI2', s.sid, s.expires, now + kept, reason, #s.owner) .. s.owner
  end
end
if graves[1] then pcall(bury, KEYS[2], KEYS[3], 1000 * kept, tonumber(ARGV[4]), graves, 1) end
reply[1] = next_due()
return reply
"""
)

NEXT_EXPIRY = Script(_COMMON + _NEXT + "return next_due()")

# KEYS: as PRUNE's. ARGV: for how many milliseconds this is kept, how many are too many for the younger hash, then ids
# and what is kept of each.
BURY = Script(_COMMON + _BURY + "bury(KEYS[2], KEYS[3], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV, 3)")

# KEYS: as PRUNE's. ARGV: ids. Returns what is kept of each, or nothing.
ENDINGS = Script(
    _COMMON
    + r"""
local reply = {}
for i, sid in ipairs(ARGV) do
  reply[i] = ask('HGET', KEYS[2], sid) or ask('HGET', KEYS[3], sid) or ''
end
return reply
"""
)

TIME = Script("return redis.call('TIME')")
