-- What the gateway knows about the nodes: which take players, what their tags are, and which have failed. One worker
-- reads all but the last from Redis for all workers.
local redis = require "kengine_redis"

-- How often the nodes are read from Redis, in seconds.
local READ_INTERVAL = 1
-- How often that worker wakes up, in seconds. While Redis is away, the worker tries to reach it each time.
local WATCH_INTERVAL = 0.25
-- How long nodes may take to join again after Redis has come back, in seconds.
local RETURN_TIMEOUT = 5
-- How long a node is avoided after it failed, in seconds.
local FAILURE_TIMEOUT = 2

local nodes = {}
local prefix
-- Shared by all workers. `nodes` holds the addresses of the nodes that take players, separated by spaces; it is missing
-- until they are learned. `tags` holds the tag of each node that lives, followed by its address, or by `-` if it
-- drains. `returned` is set for a while after Redis came back, and `outage_logged` from when the outage is logged until
-- Redis is back. `turns` counts the nodes picked without Redis. `error` holds an error in this code that is not in the
-- log yet.
local shared = ngx.shared.kengine
-- Shared by all workers. The address of each node that is avoided is a key. Such a node may be missing in `nodes`,
-- because it has joined since they were read.
local failed = ngx.shared.kengine_failed_nodes

-- Sets the prefix of the keys in Redis.
function nodes.setup(prefix_of_keys)
  prefix = prefix_of_keys
end

-- Returns whether the nodes were ever learned from Redis.
function nodes.are_known()
  return shared:get("nodes") ~= nil
end

-- Returns whether Redis came back a moment ago. An empty list of nodes is ignored then, because the nodes may not have
-- joined again yet.
function nodes.are_returning()
  return shared:get("returned") ~= nil
end

-- Stores the nodes that take players, and the tags. An empty list never replaces nodes: they are the only ones left to
-- try when Redis has lost its data.
function nodes.learn(addresses, tags)
  if #tags > 0 then
    shared:set("tags", table.concat(tags, " "))
  end
  if #addresses > 0 then
    shared:set("nodes", table.concat(addresses, " "))
  elseif not nodes.are_returning() then
    shared:add("nodes", "")
  end
end

-- Avoids a node for a while.
function nodes.set_failed(address)
  failed:set(address, true, FAILURE_TIMEOUT)
end

local function known()
  local addresses = {}
  for address in (shared:get("nodes") or ""):gmatch("%S+") do
    addresses[#addresses + 1] = address
  end
  return addresses
end

-- Returns the nodes that failed a moment ago and those that the request was sent to already.
function nodes.avoided(tried)
  -- At most 1,024, without those whose time is over.
  local avoided = failed:get_keys()
  for _, address in ipairs(tried) do
    avoided[#avoided + 1] = address
  end
  return avoided
end

local function next_except(excluded)
  local is_excluded, left = {}, {}
  for _, address in ipairs(excluded) do
    is_excluded[address] = true
  end
  for _, address in ipairs(known()) do
    if not is_excluded[address] then
      left[#left + 1] = address
    end
  end
  return #left > 0 and left[shared:incr("turns", 1, 0) % #left + 1] or nil
end

-- Returns the next of the known nodes in turn, without asking Redis, or nil if all were tried. A node that failed a
-- moment ago is still better than none.
function nodes.next(tried)
  return next_except(nodes.avoided(tried)) or next_except(tried)
end

-- Stores an error in this code, which `watch` logs later. If it were logged while a request is handled, nginx would add
-- the whole request, with its query, to the line.
function nodes.note_error(err)
  shared:set("error", err)
end

local last_read = -math.huge

local function read(connection)
  last_read = redis.now()
  redis.run(connection, "list", { true }, function()
    return 1, "{" .. prefix .. "}:lease"
  end, function(_, listed)
    nodes.learn(listed[1], listed[2])
  end)
end

local function find_tagged(tag)
  -- No address is mistaken for a tag, because each has a colon.
  return ((shared:get("tags") or "") .. " "):match(tag .. " (%S+) ")
end

-- Returns the node with a tag, whether it is full or not, or nil if it drains, or no node that lives has the tag. A
-- node may have joined since the nodes were read, so an unknown tag makes this worker read them again.
function nodes.tagged(tag)
  local begun = redis.now()
  local node = find_tagged(tag)
  if not node and not redis.is_stalled() then
    local done, why = redis.use(function(connection)
      -- Another request may have made the worker read them meanwhile.
      if last_read < begun and not redis.away() then
        read(connection)
      end
    end)
    if not done then
      redis.set_away(why)
    end
    node = find_tagged(tag)
  end
  return node ~= "-" and node or nil
end

-- Tests whether Redis is back by writing to it, because a full Redis and a replica refuse to write. The key is that of
-- the room with an empty name, which no player can ask for.
local function try_again(connection)
  redis.answered(connection:set(prefix .. ":room:", "", "PX", 1))
  shared:set("returned", true, RETURN_TIMEOUT)
  read(connection)
end

-- Keeps the list of nodes up to date, and logs when Redis goes away and comes back.
local function watch(premature)
  if premature then
    return
  end
  local err = shared:get("error")
  if err then
    shared:delete("error")
    ngx.log(ngx.ERR, "kengine: ", err)
  end
  local why = redis.away()
  if why then
    if shared:add("outage_logged", true) then
      local effect = nodes.are_known() and "players are spread over the nodes as last seen" or "no node is known yet"
      ngx.log(ngx.WARN, "kengine: the directory is away (", why, "): ", effect)
    end
    if redis.use(try_again) then
      redis.set_back()
      shared:delete("outage_logged")
      ngx.log(ngx.WARN, "kengine: the directory is back")
    end
  elseif redis.now() - last_read >= READ_INTERVAL then
    local done, failure = redis.use(read)
    if not done then
      redis.set_away(failure)
    end
  end
  ngx.timer.at(WATCH_INTERVAL, watch)
end

-- Starts to read the nodes, in one worker for all workers.
function nodes.start()
  if ngx.worker.id() == 0 then
    ngx.timer.at(0, watch)
  end
end

return nodes
