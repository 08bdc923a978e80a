-- Picks nodes for requests, using the directory in Redis. Each worker asks Redis for many requests at a time.
local semaphore = require "ngx.semaphore"
local redis = require "kengine_redis"
local nodes = require "kengine_nodes"
local reservations = require "kengine_reservations"

-- The most requests in one batch.
local BATCH_SIZE = 64
-- The most time that a request waits for Redis while nodes are known, in seconds.
local PICK_TIMEOUT = 0.5
-- The most time that a request waits while no node was ever learned, in seconds.
local LEARN_TIMEOUT = 2
-- How often a waiting request checks whether it should still wait, in seconds.
local LOOK_INTERVAL = 0.1

local picker = {}
local settings

-- Sets the settings of the gateway.
function picker.setup(all)
  settings = all
end

local function room_key(request)
  return settings.prefix .. ":room:" .. (request.room or "")
end

local function filtered(requests, is_wanted)
  local wanted = {}
  for _, request in ipairs(requests) do
    if is_wanted(request) then
      wanted[#wanted + 1] = request
    end
  end
  return wanted
end

-- Looks up, for each request, the node of its user, the boot id of that node, and the node of its room.
local function locate(connection, requests)
  local some = filtered(requests, function(request)
    return request.uid or request.room
  end)
  if #some == 0 then
    return
  end
  connection:init_pipeline()
  for _, request in ipairs(some) do
    connection:hmget(settings.prefix .. ":user:" .. (request.uid or ""), "address", "boot")
    connection:get(room_key(request))
    connection:pexpire(room_key(request), settings.room_lifetime)
  end
  local found = redis.answered(connection:commit_pipeline())
  local function text(value)
    return type(value) == "string" and value or ""
  end
  for i, request in ipairs(some) do
    local user, room = found[3 * i - 2], found[3 * i - 1]
    user = type(user) == "table" and user or {}
    request.user, request.boot, request.at = text(user[1]), text(user[2]), text(room)
  end
end

-- Lets Redis pick a node for each request, and stores it in `request.node`: an empty string if no node takes players,
-- nil if Redis may have lost the nodes, because the directory is empty, or no node is ready just after Redis came back.
local function pick(connection, requests)
  local keys = "{" .. settings.prefix .. "}:"
  redis.run(connection, "pick", requests, function(request)
    return 3, keys .. "load", keys .. "lease", keys .. "versions", request.reservation, reservations.LIFETIME,
      request.before, request.user, request.boot, request.at, unpack(request.avoided)
  end, function(request, picked)
    local node, ready = picked[1], picked[2]
    request.before = node or ""
    if not node then
      nodes.learn({}, {})
    elseif node == "" and ready == 0 and nodes.are_returning() then
      node = nil
    end
    request.node = node
  end)
end

-- Finds a node for each request, in two round trips. Each of these cases costs one more: only nodes that failed a
-- moment ago are left; a room is new or moves; another gateway or worker placed a room at the same time.
local function find(connection, requests)
  locate(connection, requests)
  pick(connection, requests)
  local left = filtered(requests, function(request)
    return request.node == "" and #request.avoided > #request.tried
  end)
  for _, request in ipairs(left) do
    -- A node that failed a moment ago is still better than none.
    request.avoided = request.tried
  end
  pick(connection, left)
  local movers = filtered(requests, function(request)
    local node, at = request.node, request.at
    return request.room and node and node ~= "" and node ~= at and (at == "" or node ~= request.user)
  end)
  local late = {}
  redis.run(connection, "room", movers, function(request)
    return 1, room_key(request), request.at, request.node, settings.room_lifetime
  end, function(request, at)
    if at ~= request.node then
      -- The room was placed for another player meanwhile: use that node.
      request.at = at
      late[#late + 1] = request
    end
  end)
  pick(connection, late)
end

-- The requests that wait for a batch, and whether a timer is going to run `ask`.
local waiting, is_asking = {}, false

-- Takes at most one batch of the waiting requests.
local function take_batch()
  local batch, rest = {}, {}
  for _, request in ipairs(waiting) do
    if #batch == BATCH_SIZE then
      rest[#rest + 1] = request
    elseif request.is_waiting then
      request.is_asked = true
      batch[#batch + 1] = request
    end
  end
  waiting = rest
  return batch
end

-- Asks Redis for a batch of the waiting requests. This runs in a timer, because a query that one request makes for
-- others would end together with that request.
local function ask()
  local batch = {}
  local done, why = redis.use(function(connection)
    -- Redis may have gone away while another query used the connection.
    if not redis.away() then
      batch = take_batch()
      find(connection, batch)
    end
  end)
  if not done then
    redis.set_away(why)
  end
  if redis.away() then
    -- Wakes the other requests at once, because Redis cannot answer them.
    for _, request in ipairs(waiting) do
      batch[#batch + 1] = request
    end
    waiting = {}
  end
  for _, request in ipairs(batch) do
    request.is_answered = done and request.is_asked
    request.done:post()
  end
  is_asking = #waiting > 0 and ngx.timer.at(0, ask)
end

-- Waits until Redis has answered a request. A request that is not in a batch yet stops waiting when Redis stalls,
-- unless no node is known.
local function wait(request, deadline)
  request.is_waiting, request.is_asked, request.is_answered = true, false, false
  waiting[#waiting + 1] = request
  is_asking = is_asking or ngx.timer.at(0, ask)
  local begun = redis.now()
  local is_worth_it
  repeat
    local posted, err = request.done:wait(LOOK_INTERVAL)
    if nodes.are_known() then
      is_worth_it = redis.now() - begun < PICK_TIMEOUT and (request.is_asked or not redis.is_stalled())
    else
      is_worth_it = redis.now() < deadline and (request.is_asked or not redis.away())
    end
  until posted or err ~= "timeout" or not is_worth_it
  request.is_waiting = false
end

-- Returns the node that Redis picks for a request, an empty string if no node takes players, or nil if Redis is away or
-- slow. While no node was ever learned, the request waits for Redis. `uid` and `room` are escaped, as in the keys of
-- Redis.
function picker.find(reservation, tried, uid, room)
  local deadline = redis.now() + LEARN_TIMEOUT
  while true do
    if not redis.is_stalled() then
      local request = { reservation = reservation, tried = tried, avoided = nodes.avoided(tried),
        before = tried[#tried] or "", uid = uid, room = room, user = "", boot = "", at = "",
        done = assert(semaphore.new()) }
      wait(request, deadline)
      if request.is_answered and request.node then
        return request.node
      end
    end
    if nodes.are_known() or redis.now() >= deadline then
      return nil
    end
    ngx.sleep(LOOK_INTERVAL)
  end
end

return picker
