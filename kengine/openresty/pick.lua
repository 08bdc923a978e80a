-- Picks a node for a player, inside Redis, and keeps a seat there for one who is about to come: on the node of the
-- user's other connection, else on that of the room, else where the load is least for the capacity. A node takes
-- players while its lease runs, it is ready, it has a seat left, and the gateway did not just see it fail.
--
-- KEYS: `{prefix}:load` and `{prefix}:lease`; the keys of single nodes begin alike.
-- ARGV: the reservation, or nothing where none is to be made, and for how many milliseconds it is; the node where it
-- was before; the user's node and that node's boot id; the room's node; whether to list the nodes; nodes that failed.
-- Returns the address of the node, or nothing, and behind it those of all that take players; and nothing at all when
-- the directory is empty, as after a loss of Redis' data, until the nodes are back in it.
local load, lease = unpack(KEYS)
local reservation, lifetime, before, user, boot, room, listing = unpack(ARGV)
local prefix = load:sub(1, -#'load' - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local failed = {}
for i = 8, #ARGV do
  failed[ARGV[i]] = true
end

-- Two numbers, of a node that takes players: its load, which is full at 1; and its boot id.
local function fullness(address, expiry)
  if not expiry or tonumber(expiry) <= now then
    return
  end
  local state, capacity, booted = unpack(redis.call('HMGET', prefix .. 'node:' .. address, 'state', 'capacity', 'boot'))
  if state == 'ready' then
    return tonumber(redis.call('ZSCORE', load, address) or 0) / math.max(tonumber(capacity) or 0, 1), booted
  end
end

-- Whether a node that is preferred can be had.
local function is_free(address, as)
  if address == '' or failed[address] then
    return false
  end
  local full, booted = fullness(address, redis.call('HGET', lease, address))
  return full and full < 1 and (as == nil or as == booted)
end

if before ~= '' and redis.call('ZREM', prefix .. 'reserved:' .. before, reservation) == 1 then
  redis.call('ZINCRBY', load, -1, before)
end

local picked = is_free(user, boot) and user or is_free(room) and room or nil
local alive = {}
if not picked or listing == '1' then
  local least, best = 1, {}
  local leases = redis.call('HGETALL', lease)
  if #leases == 0 then
    return {}
  end
  for i = 1, #leases, 2 do
    local address = leases[i]
    local full = fullness(address, leases[i + 1])
    if full then
      alive[#alive + 1] = address
      if full < least and not failed[address] then
        least, best = full, {}
      end
      if full == least and full < 1 and not failed[address] then
        best[#best + 1] = address
      end
    end
  end
  -- Of equals any: whoever of them comes first must not get all who need no seat.
  picked = picked or best[time[2] % math.max(#best, 1) + 1]
end

if picked and reservation ~= '' then
  redis.call('ZADD', prefix .. 'reserved:' .. picked, now + lifetime, reservation)
  redis.call('ZINCRBY', load, 1, picked)
end
return {picked or '', unpack(alive)}
