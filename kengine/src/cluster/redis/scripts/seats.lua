-- Rooms that have seats or show data, and the players who sit there. `node_state/room_table.rs` does the same in
-- memory.
--
-- KEYS[1] is the hash of leases; the other keys have the same prefix. ARGV: what to do, the node that asks, and more. A
-- node is its address, `|` and its boot id. Names of rooms and prefixes are escaped. For a room there are
--   room:<name>          hash: `seats`, `family`, `host`, `public`, and `n:<node>` with the members of each node there
--   seats:<name>         hash: the uid of each player, with the holders of the seat: `<node>#<number of the request>`,
--                        and `~` if that connection was replaced, so that the seat is only kept for the player
-- and to find them
--   rooms                sorted set: the names
--   rooms:<node>         set: the rooms with members or players of a node
--   nodes                set: the nodes that have such rooms
--   family:<prefix>      sorted set: the rooms that `fill` has opened, by taken seats; `…|<node>`: those of one host
--   players:<prefix>     hash: the room of each player of these
-- A seat counts while the node of a holder has its lease and is still the same process.
local lease = KEYS[1]
local prefix = lease:sub(1, -#'lease' - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local call = redis.call

local known = {}
local function is_alive(node)
  if known[node] == nil then
    local address, boot = node:match('^(.*)|(.*)$')
    local expiry = call('HGET', lease, address)
    known[node] = expiry and tonumber(expiry) > now and call('HGET', prefix .. 'node:' .. address, 'boot') == boot
  end
  return known[node]
end

local function room_key(name)
  return prefix .. 'room:' .. name
end

local function seats_key(name)
  return prefix .. 'seats:' .. name
end

-- Updates the place of a room in its family after its number of taken seats has changed.
local function settle(name)
  local taken = call('HLEN', seats_key(name))
  local family, host = unpack(call('HMGET', room_key(name), 'family', 'host'))
  if family then
    local all = prefix .. 'family:' .. family
    if taken > 0 then
      call('ZADD', all, taken, name)
      call('ZADD', all .. '|' .. host, taken, name)
    else
      call('ZREM', all, name)
      call('ZREM', all .. '|' .. host, name)
    end
  end
end

-- Makes a node the host of a room.
local function set_host(name, node)
  local family, host = unpack(call('HMGET', room_key(name), 'family', 'host'))
  if family and host then
    call('ZREM', prefix .. 'family:' .. family .. '|' .. host, name)
  end
  call('HSET', room_key(name), 'host', node)
  settle(name)
end

-- Removes the holders of seats that are not wanted, of one player or of all.
local function retain(name, is_wanted, uid)
  local key = seats_key(name)
  local players = uid and {uid, call('HGET', key, uid)} or call('HGETALL', key)
  local family
  for i = 1, #players, 2 do
    local held, left = players[i + 1] or '', {}
    for holder in held:gmatch('%S+') do
      if is_wanted(holder) then
        left[#left + 1] = holder
      end
    end
    local kept = table.concat(left, ' ')
    if kept == '' then
      family = family or call('HGET', room_key(name), 'family') or ''
      call('HDEL', key, players[i])
      if family ~= '' and call('HGET', prefix .. 'players:' .. family, players[i]) == name then
        call('HDEL', prefix .. 'players:' .. family, players[i])
      end
    elseif kept ~= held then
      call('HSET', key, players[i], kept)
    end
  end
end

-- Returns the nodes that have members or players in a room.
local function nodes_of(name)
  local nodes = {}
  for _, field in ipairs(call('HKEYS', room_key(name))) do
    nodes[#nodes + 1] = field:match('^n:(.*)$')
  end
  return nodes
end

-- Takes a node out of a room where it has neither members nor players. The last one takes the room with it.
local function remove_node(name, node)
  call('HDEL', room_key(name), 'n:' .. node)
  call('SREM', prefix .. 'rooms:' .. node, name)
  if call('EXISTS', prefix .. 'rooms:' .. node) == 0 then
    call('SREM', prefix .. 'nodes', node)
  end
  local others = nodes_of(name)
  if #others == 0 then
    retain(name, function() return false end)
    settle(name)
    call('DEL', room_key(name), seats_key(name))
    call('ZREM', prefix .. 'rooms', name)
  elseif call('HGET', room_key(name), 'host') == node then
    set_host(name, others[1])
  end
end

local function is_of(node)
  return function(holder)
    return holder:match('^(.*)#') == node
  end
end

-- Whether players of a node sit in a room.
local function has_players(name, node)
  for _, held in ipairs(call('HVALS', seats_key(name))) do
    if (' ' .. held):find(' ' .. node .. '#', 1, true) then
      return true
    end
  end
  return false
end

-- Takes a node out of a room if it has no members and no players there.
local function leave(name, node)
  if call('HGET', room_key(name), 'n:' .. node) == '0' and not has_players(name, node) then
    remove_node(name, node)
  end
end

-- Removes what nodes that are gone have left in a room.
local function prune(name)
  local gone = {}
  for _, node in ipairs(nodes_of(name)) do
    if not is_alive(node) then
      gone[#gone + 1] = node
    end
  end
  if #gone > 0 then
    retain(name, function(holder) return is_alive(holder:match('^(.*)#')) end)
    for _, node in ipairs(gone) do
      remove_node(name, node)
    end
    settle(name)
  end
end

-- Registers a node in a room.
local function add_node(name, node)
  call('HSETNX', room_key(name), 'n:' .. node, 0)
  call('HSETNX', room_key(name), 'host', node)
  call('SADD', prefix .. 'rooms:' .. node, name)
  call('SADD', prefix .. 'nodes', node)
  call('ZADD', prefix .. 'rooms', 0, name)
end

-- Adds a holder to the seat of a player, also if the room is full. A seat is kept only while nobody else holds it.
local function hold(name, node, seats, uid, number)
  add_node(name, node)
  local added, held, kept_by = node .. '#' .. number, {}, {}
  for holder in (call('HGET', seats_key(name), uid) or ''):gmatch('%S+') do
    if holder:sub(-1) == '~' then
      kept_by[#kept_by + 1] = holder:match('^(.*)#')
    elseif holder ~= added then
      held[#held + 1] = holder
    end
  end
  if #held == 0 or added:sub(-1) ~= '~' then
    held[#held + 1] = added
  end
  call('HSET', seats_key(name), uid, table.concat(held, ' '))
  call('HSET', room_key(name), 'seats', seats)
  local family = call('HGET', room_key(name), 'family')
  if family then
    call('HSET', prefix .. 'players:' .. family, uid, name)
  end
  for _, other in ipairs(kept_by) do
    leave(name, other)
    -- Else it hosts the room until it has reported that its member is gone.
    if call('HGET', room_key(name), 'host') == other and not has_players(name, other) then
      set_host(name, node)
    end
  end
end

-- Returns the room of a family for a player, unless a new one is needed.
local function find(family, node, seats, uid)
  local name = call('HGET', prefix .. 'players:' .. family, uid)
  if name then
    prune(name)
    if call('HEXISTS', seats_key(name), uid) == 1 then
      return name
    end
  end
  for _, key in ipairs({prefix .. 'family:' .. family .. '|' .. node, prefix .. 'family:' .. family}) do
    -- Rooms whose players are all gone are taken out of the set, so the next look finds others.
    for _ = 1, 100 do
      local free = call('ZREVRANGEBYSCORE', key, seats - 1, 1, 'LIMIT', 0, 1)[1]
      if not free then
        break
      end
      prune(free)
      if call('HLEN', seats_key(free)) > 0 then
        return free
      end
      call('ZREM', key, free)
    end
  end
end

local commands = {}

-- Gives a player a seat in the room `name`, which belongs to the family if one is given; or, if the name is empty, in a
-- room of the family, or else in the new room `fresh`. Returns 1, the name, the family, and the host if it is another
-- node; or 0 if the room is full; or -1 if the node does not hold its lease, so that its seats would not count.
function commands.take(node, name, family, fresh, seats, uid, number)
  if not is_alive(node) then
    return {-1}
  end
  if name ~= '' then
    if call('HLEN', seats_key(name)) >= tonumber(seats) and call('HEXISTS', seats_key(name), uid) == 0 then
      prune(name)
      if call('HLEN', seats_key(name)) >= tonumber(seats) then
        return {0}
      end
    end
    if family ~= '' then
      call('HSETNX', room_key(name), 'family', family)
    end
  else
    name = find(family, node, tonumber(seats), uid)
    if not name then
      -- A client may have guessed the name, and have a seat there.
      name = call('EXISTS', room_key(fresh)) == 0 and fresh or fresh .. '-' .. time[2]
      call('HSET', room_key(name), 'family', family)
    end
  end
  hold(name, node, seats, uid, number)
  local host = call('HGET', room_key(name), 'host')
  if not is_alive(host) then
    set_host(name, node)
    host = node
  end
  settle(name)
  return {1, name, call('HGET', room_key(name), 'family') or '', host ~= node and host:match('^(.*)|') or ''}
end

-- Removes a holder of a seat. Without the name of the room, it is that of the player in the family.
function commands.vacate(node, name, family, uid, number)
  if name == '' then
    name = call('HGET', prefix .. 'players:' .. family, uid) or ''
  end
  local vacated = node .. '#' .. number
  retain(name, function(holder) return holder ~= vacated and holder ~= vacated .. '~' end, uid)
  settle(name)
  leave(name, node)
  return {}
end

-- Keeps a seat for its player until it is vacated, or vacates it at once if the player holds it by another request.
function commands.keep(node, name, family, uid, number)
  local holder = node .. '#' .. number
  if call('HGET', seats_key(name), uid) ~= holder then
    return commands.vacate(node, name, family, uid, number)
  end
  call('HSET', seats_key(name), uid, holder .. '~')
  return {}
end

-- Reports the members of a node in a room, and what the room shows if `public` is not empty. Unless that is new, it
-- does not replace what another node may have set. A node without members and players is taken out.
function commands.report(node, name, members, public, is_new)
  add_node(name, node)
  call('HSET', room_key(name), 'n:' .. node, members)
  if public ~= '' then
    call(is_new == '1' and 'HSET' or 'HSETNX', room_key(name), 'public', public)
  end
  leave(name, node)
  return {}
end

-- Sets which seats of a room a node's players have: pairs of uid and number. The directory may have lost them, or hold
-- others. With `again`, these are further seats of the same room.
function commands.restore(node, name, family, seats, again, ...)
  local own = is_of(node)
  if again == '0' then
    retain(name, function(holder) return not own(holder) end)
  end
  local pairs_of = {...}
  if family ~= '' and #pairs_of > 0 then
    call('HSETNX', room_key(name), 'family', family)
  end
  for i = 1, #pairs_of, 2 do
    hold(name, node, seats, pairs_of[i], pairs_of[i + 1])
  end
  settle(name)
  leave(name, node)
  return {}
end

-- Removes what nodes that are gone have left in at most `max` rooms. Returns 1 if there may be more.
function commands.sweep(_, max)
  local left = tonumber(max)
  for _, node in ipairs(call('SMEMBERS', prefix .. 'nodes')) do
    if not is_alive(node) then
      for _, name in ipairs(call('SRANDMEMBER', prefix .. 'rooms:' .. node, left)) do
        prune(name)
        call('SREM', prefix .. 'rooms:' .. node, name)
        left = left - 1
      end
      if left <= 0 then
        return {1}
      end
      call('SREM', prefix .. 'nodes', node)
    end
  end
  return {0}
end

-- Returns at most `max` rooms whose names begin with `start` and come after `after`, of at most `scanned` ones; if
-- `free` is 1, only rooms with a free seat. Returns the name after which the next page begins, or an empty string, and
-- for each room its name, its members, seats, taken seats, what it shows, and the addresses of its nodes.
function commands.list(_, start, after, max, free, scanned)
  local from = after == '' and '[' .. start or '(' .. after
  local names = call('ZRANGEBYLEX', prefix .. 'rooms', from, '[' .. start .. '\255', 'LIMIT', 0, scanned)
  local rooms, last, is_cut = {}, '', #names == tonumber(scanned)
  for _, name in ipairs(names) do
    if #rooms == tonumber(max) then
      is_cut = true
      break
    end
    last = name
    local fields, members, nodes, is_stale = call('HGETALL', room_key(name)), 0, {}, false
    -- Seats stay a text, because a number of Redis may be too small for them.
    local seats, public = '0', ''
    for i = 1, #fields, 2 do
      local node = fields[i]:match('^n:(.*)$')
      if node and is_alive(node) then
        members = members + fields[i + 1]
        nodes[#nodes + 1] = node:match('^(.*)|')
      elseif node then
        is_stale = true
      elseif fields[i] == 'seats' then
        seats = fields[i + 1]
      elseif fields[i] == 'public' then
        public = fields[i + 1]
      end
    end
    if is_stale then
      prune(name)
    end
    local taken = seats ~= '0' and call('HLEN', seats_key(name)) or 0
    if #nodes > 0 and members + taken > 0 and (free ~= '1' or taken < tonumber(seats)) then
      rooms[#rooms + 1] = {name, members, seats, taken, public, nodes}
    end
  end
  return {is_cut and last or '', rooms}
end

return commands[ARGV[1]](unpack(ARGV, 2))
