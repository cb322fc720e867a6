"""What runs inside Redis, each script as one piece: nobody sees the half of it, and a writer whose lease is gone writes
nothing.

Every write can be made twice without harm, because Redis does not take back what a script wrote before an error.
"""

from __future__ import annotations

from typing import Final

DONE, FENCED, MOVED = 0, 1, 2

_OWNED: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end
"""

TAKE: Final = """
-- KEYS: lease; ARGV: token, lease in ms
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
"""

APPLY: Final = (
    _OWNED
    + """
-- ARGV: token, lease in ms, base, partition, the position that must be there, the new one, feed's length, operations
-- Redis asks whether its memory is full at a script's first write alone: so that must be one that it may refuse.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local base, number = ARGV[3], ARGV[4]
if (redis.call('HGET', base .. 'pos', number) or '') ~= ARGV[5] then return 2 end
local feed, fed = base .. 'feed:' .. number, false

local function put(kind, tenant, field, value)
  local key = base .. kind .. ':' .. tenant
  if redis.call('HSET', key, field, value) == 1 and redis.call('HLEN', key) == 1 then
    redis.call('SADD', base .. 'tenants:' .. kind, tenant)
  end
end

local function drop(kind, tenant, field)
  local key = base .. kind .. ':' .. tenant
  if redis.call('HDEL', key, field) == 1 and redis.call('EXISTS', key) == 0 then
    redis.call('SREM', base .. 'tenants:' .. kind, tenant)
  end
end

local function close(id, tenant)
  redis.call('ZREM', base .. 'open', tenant .. '|' .. id)
  redis.call('ZREM', base .. 'open:' .. tenant, id)
end

local i = 8
while i <= #ARGV do
  local op = ARGV[i]
  if op == 'put' then
    put(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    i = i + 5
  elseif op == 'drop' then
    drop(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == 'hset' then
    redis.call('HSET', base .. ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == 'hdel' then
    redis.call('HDEL', base .. ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  elseif op == 'call' then -- an escalation: id, tenant, when it expires (empty where it is not open), document
    local id, tenant = ARGV[i + 1], ARGV[i + 2]
    redis.call('HSET', base .. 'whose', id, tenant)
    put('escalations', tenant, id, ARGV[i + 4])
    if ARGV[i + 3] == '' then
      close(id, tenant)
    else
      redis.call('ZADD', base .. 'open', ARGV[i + 3], tenant .. '|' .. id)
      redis.call('ZADD', base .. 'open:' .. tenant, ARGV[i + 3], id)
    end
    i = i + 5
  elseif op == 'forget' then -- an escalation: id
    local tenant = redis.call('HGET', base .. 'whose', ARGV[i + 1])
    if tenant then
      close(ARGV[i + 1], tenant)
      drop('escalations', tenant, ARGV[i + 1])
      redis.call('HDEL', base .. 'whose', ARGV[i + 1])
    end
    i = i + 2
  elseif op == 'newest' then -- tenant, field, mark, document: kept unless what is there has a later mark
    local there = redis.call('HGET', base .. 'now:' .. ARGV[i + 1], ARGV[i + 2])
    if not there or string.sub(there, 1, #ARGV[i + 3]) <= ARGV[i + 3] then
      put('now', ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] .. ARGV[i + 4])
    end
    i = i + 5
  elseif op == 'feed' then -- id, topic, type, tenant, event id, at, event
    local made = redis.pcall('XADD', feed, ARGV[i + 1], 'topic', ARGV[i + 2], 'type', ARGV[i + 3],
      'tenant', ARGV[i + 4], 'id', ARGV[i + 5], 'at', ARGV[i + 6], 'event', ARGV[i + 7])
    -- An id that is there already was written before an error broke this script off.
    if type(made) == 'table' and made.err and not string.find(made.err, 'equal or smaller') then return made end
    fed = true
    i = i + 8
  else
    return redis.error_reply('ERR unknown operation')
  end
end
if fed then redis.call('XTRIM', feed, 'MAXLEN', '=', ARGV[7]) end
redis.call('HSET', base .. 'pos', number, ARGV[6])
return 0
"""
)

BEAT: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {1, ''} end
-- KEYS: lease, request, gen, building; ARGV: token, lease in ms, generation, base, how many positions must be there,
-- how far behind in ms, records behind, then partitions and where their journals end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if redis.call('GET', KEYS[3]) ~= ARGV[3] and redis.call('GET', KEYS[4]) ~= ARGV[3] then return {2, ''} end
if redis.call('EXISTS', ARGV[4] .. 'meta') == 0 then return {2, ''} end
if redis.call('HLEN', ARGV[4] .. 'pos') ~= tonumber(ARGV[5]) then return {2, ''} end
local head, now = ARGV[4] .. 'head', redis.call('TIME')
local checked = string.format('%d%03d', now[1], math.floor(now[2] / 1000))
redis.call('HSET', head, 'checked_ms', checked, 'behind_ms', ARGV[6], 'lag', ARGV[7])
for i = 8, #ARGV, 2 do redis.call('HSET', head, ARGV[i], ARGV[i + 1]) end
return {0, redis.call('GET', KEYS[2]) or ''}
"""

BEGIN: Final = (
    _OWNED
    + """
-- ARGV: token, base, generation, format, partitions, how records are checked
redis.call('HSET', ARGV[2] .. 'meta', 'format', ARGV[4], 'partitions', ARGV[5], 'checked', ARGV[6])
redis.call('SET', KEYS[2], ARGV[3])
return 0
"""
)

SWAP: Final = (
    _OWNED
    + """
-- KEYS: lease, gen, building, answered; ARGV: token, generation, base, old base (or empty), the wish it fulfils
local function offset(base, number)
  return tonumber(string.match(redis.call('HGET', base .. 'pos', number) or '0', '^%d+'))
end
if ARGV[4] ~= '' then
  for _, number in ipairs(redis.call('HKEYS', ARGV[4] .. 'pos')) do
    if offset(ARGV[3], number) < offset(ARGV[4], number) then return 2 end
  end
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[3])
if ARGV[5] ~= '' then redis.call('SET', KEYS[4], ARGV[5]) end
return 0
"""
)

UNLINK: Final = (
    _OWNED
    + """
for i = 2, #ARGV do redis.call('UNLINK', ARGV[i]) end
return 0
"""
)

RELEASE: Final = (
    _OWNED
    + """
redis.call('DEL', KEYS[1])
return 0
"""
)

READ: Final = """
-- KEYS: gen; ARGV: prefix, then one query: its kind and arguments. All of one generation, at one moment.
local generation = redis.call('GET', KEYS[1])
if not generation then return false end
local base = ARGV[1] .. generation .. ':'
local now = redis.call('TIME')
local answer = {generation, string.format('%d%03d', now[1], math.floor(now[2] / 1000)),
  redis.call('HGETALL', base .. 'head'), redis.call('HGETALL', base .. 'pos')}
local query, rows = ARGV[2], {}

local function tenants(kind, wanted)
  if wanted ~= '' then return {wanted} end
  local all = redis.call('SMEMBERS', base .. 'tenants:' .. kind)
  table.sort(all)
  return all
end

if query == 'field' then -- key, field
  rows = {redis.call('HGET', base .. ARGV[3], ARGV[4])}
elseif query == 'hash' then -- key
  rows = redis.call('HGETALL', base .. ARGV[3])
elseif query == 'all' then -- kinds (the first says whose), tenant or nothing, how many fields at most
  local left = tonumber(ARGV[4])
  local first = string.match(ARGV[3], '^[^,]+')
  for kind in string.gmatch(ARGV[3], '[^,]+') do
    for _, tenant in ipairs(tenants(kind, ARGV[5])) do
      local key = base .. kind .. ':' .. tenant
      if left > 0 then
        left = left - redis.call('HLEN', key)
        rows[#rows + 1] = {kind, tenant, redis.call('HGETALL', key)}
      end
    end
  end
elseif query == 'open' then -- tenant or nothing, how many at most
  local last = tonumber(ARGV[4]) - 1
  if ARGV[3] ~= '' then
    for _, id in ipairs(redis.call('ZRANGE', base .. 'open:' .. ARGV[3], 0, last)) do
      rows[#rows + 1] = redis.call('HGET', base .. 'escalations:' .. ARGV[3], id)
    end
  else
    for _, member in ipairs(redis.call('ZRANGE', base .. 'open', 0, last)) do
      local tenant, id = string.match(member, '^(.-)|(.*)$')
      rows[#rows + 1] = redis.call('HGET', base .. 'escalations:' .. tenant, id)
    end
  end
elseif query == 'escalation' then -- id
  local tenant = redis.call('HGET', base .. 'whose', ARGV[3])
  rows = {tenant and redis.call('HGET', base .. 'escalations:' .. tenant, ARGV[3])}
elseif query == 'feed' then -- how many of each at most, then partitions and the ids after which to begin
  for i = 4, #ARGV, 2 do
    local key = base .. 'feed:' .. ARGV[i]
    local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)
    local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)
    rows[#rows + 1] = {ARGV[i], redis.call('XRANGE', key, '(' .. ARGV[i + 1], '+', 'COUNT', ARGV[3]),
      oldest[1] and oldest[1][1], newest[1] and newest[1][1]}
  end
end
answer[5] = rows
return answer
"""
