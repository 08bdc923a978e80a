-- The gateway of a kengine cluster: sends each player to the node that has most room, by the directory in Redis.
--
-- For OpenResty, and for nginx with ngx_lua; nginx.conf beside shows all that belongs to it. `setup` is called by
-- `init_by_lua`, `start` by `init_worker_by_lua`, `pick` where a request comes in, `again` where the node that was
-- picked did not take it.
local semaphore = require "ngx.semaphore"

local function find_client()
  -- OpenResty's, and Debian's.
  for _, name in ipairs { "resty.redis", "nginx.redis" } do
    local found, client = pcall(require, name)
    if found then
      return client
    end
  end
  error("kengine: there is no client of Redis for Lua: install `lua-nginx-redis` (Debian), or use OpenResty", 0)
end

local client = find_client()

-- For how long a seat is kept for a player who has been sent to a node, in milliseconds.
local RESERVED_FOR = 5000
-- How long Redis may take for anything, in milliseconds; then it is away.
local ANSWERED_WITHIN = 250
-- How long requests wait in line while nothing comes from Redis, in seconds.
local STALLED_AFTER = 0.1
-- How often Redis is tried while it is away, in seconds.
local TRIED_EVERY = 0.25
-- For how long a node is not picked after it failed, in seconds.
local FAILED_FOR = 2
-- How often the nodes are noted that are turned to while Redis is away, in seconds.
local NOTED_EVERY = 1
-- How many other nodes are tried for one request.
local TRIES = 3
-- The longest names that nodes take, in bytes: others are nobody's.
local LONGEST_UID, LONGEST_ROOM = 128, 64

local kengine = {}
local settings
local scripts = {}
-- What all workers know: the `nodes` that take players, as of when they were `noted`; which of them `failed`; why Redis
-- is `away`, and whether that was `told`; whose `turns` it is then.
local shared = ngx.shared.kengine

-- Reads the settings, and the scripts for Redis.
function kengine.setup(folder)
  settings = dofile(folder .. "/settings.lua")
  for _, name in ipairs { "pick", "room" } do
    local file = assert(io.open(folder .. "/" .. name .. ".lua"))
    local code = file:read("*a")
    file:close()
    local hash = ngx.sha1_bin(code):gsub(".", function(char)
      return ("%02x"):format(char:byte())
    end)
    scripts[name] = { code = code, hash = hash }
  end
end

-- Redis --

local function connect()
  local at = settings.redis
  local redis = client:new()
  redis:set_timeout(ANSWERED_WITHIN)
  local connected, err
  if at.port then
    connected, err = redis:connect(at.host, at.port, { pool = "kengine" })
  else
    connected, err = redis:connect(at.host, { pool = "kengine" })
  end
  if not connected then
    return nil, err
  end
  if redis:get_reused_times() > 0 then
    return redis
  end
  if at.tls then
    connected, err = redis._sock:sslhandshake(nil, at.tls, at.verify)
  end
  if connected and at.user then
    connected, err = redis:auth(at.user, at.password)
  elseif connected and at.password then
    connected, err = redis:auth(at.password)
  end
  if connected and at.database then
    connected, err = redis:select(at.database)
  end
  if not connected then
    redis:close()
    return nil, err
  end
  return redis
end

-- Whose turn it is to ask Redis, over the one connection that a worker has; and since when Redis owes an answer.
local turn, waiting_since

-- Not as of when the worker last looked: where a crowd comes at once, that is a while ago.
local function now()
  ngx.update_time()
  return ngx.now()
end

-- An answer of Redis, or an error.
local function answered(answer, err)
  if not answer then
    error(err or "no answer", 0)
  end
  waiting_since = now()
  return answer
end

-- Whether `ask` did it with a connection to Redis, and what it returned, or why not.
local function with_connection(ask)
  local redis
  local done, result = pcall(function()
    redis = answered(connect())
    return ask(redis)
  end)
  if done then
    redis:set_keepalive(60000, 1)
  elseif redis then
    redis:close()
  end
  return done, result
end

-- Tries Redis while it is away, which is told once. In a timer, where nobody waits for it, and whose lines in the log
-- hold no request.
local function watch(premature)
  local why = shared:get("away")
  if why and not premature then
    if shared:add("told", true) then
      ngx.log(ngx.WARN, "kengine: the directory is away (", why, "): players are spread over the nodes as last seen")
    end
    local is_back = with_connection(function(redis)
      return answered(redis:ping())
    end)
    if is_back then
      shared:delete("away")
      shared:delete("told")
      ngx.log(ngx.WARN, "kengine: the directory is back")
    end
  end
  if not premature then
    ngx.timer.at(TRIED_EVERY, watch)
  end
end

-- Begins a worker's work; one of them watches over Redis for all.
function kengine.start()
  if ngx.worker.id() == 0 then
    ngx.timer.at(0, watch)
  end
end

-- Calls `ask` with a connection to Redis, and returns its result, or nothing when Redis is away. While one request
-- waits for a Redis that hangs, the others do not.
local function with_redis(ask)
  turn = turn or assert(semaphore.new(1))
  while not turn:wait(STALLED_AFTER) do
    if shared:get("away") or waiting_since and ngx.now() - waiting_since >= STALLED_AFTER then
      return nil
    end
  end
  if shared:get("away") then
    turn:post()
    return nil
  end
  waiting_since = now()
  local done, result = with_connection(ask)
  waiting_since = nil
  if not done then
    shared:add("away", result)
  end
  turn:post()
  return done and result or nil
end

local function run(redis, script, ...)
  local answer, err = redis:evalsha(script.hash, ...)
  if not answer and err and err:find("NOSCRIPT", 1, true) then
    answer, err = redis:eval(script.code, ...)
  end
  return answered(answer, err)
end

-- Nodes --

-- In a key's name nothing means anything to Redis.
local function encoded(name)
  return (name:gsub("[^%w%-._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

-- A parameter of the query that names something.
local function named(parameter, longest)
  local value = ngx.var["arg_" .. parameter]
  value = value and ngx.unescape_uri(value)
  if value and value ~= "" and #value <= longest then
    return encoded(value)
  end
end

-- Where the user is, as which process; and where the room is.
local function affinity(redis, uid, room)
  local prefix = settings.prefix
  redis:init_pipeline()
  redis:hmget(prefix .. ":user:" .. (uid or ""), "address", "boot")
  redis:get(prefix .. ":room:" .. (room or ""))
  redis:pexpire(prefix .. ":room:" .. (room or ""), settings.room_lifetime)
  local found = answered(redis:commit_pipeline())
  local function text(value)
    return type(value) == "string" and value or ""
  end
  local user = type(found[1]) == "table" and found[1] or {}
  return text(user[1]), text(user[2]), text(found[2])
end

-- The nodes that took players when last seen, and which of them failed since.
local function known()
  local nodes, failed = {}, {}
  for node in (shared:get("nodes") or ""):gmatch("%S+") do
    nodes[#nodes + 1] = node
    if shared:get("failed " .. node) then
      failed[#failed + 1] = node
    end
  end
  return nodes, failed
end

-- Asks the directory for a node; nothing when it has none at all.
local function ask_directory(redis, reservation, tried)
  local keys = "{" .. settings.prefix .. "}:"
  local before = tried[#tried] or ""
  local uid, room = named(settings.uid, LONGEST_UID), named(settings.room, LONGEST_ROOM)
  local user, boot, at = "", "", ""
  if uid or room then
    user, boot, at = affinity(redis, uid, room)
  end
  local function pick(failed)
    local listing = shared:add("noted", true, NOTED_EVERY) and "1" or "0"
    local answer = run(redis, scripts.pick, 2, keys .. "load", keys .. "lease", reservation, RESERVED_FOR, before, user,
      boot, at, listing, unpack(failed))
    if answer[1] and (listing == "1" or answer[1] == "") then
      shared:set("nodes", table.concat(answer, " ", 2))
    end
    before = answer[1]
    return answer[1]
  end
  local _, failed = known()
  for _, node in ipairs(tried) do
    failed[#failed + 1] = node
  end
  local node = pick(failed)
  if not node then
    return nil
  end
  if node == "" and #failed > #tried then
    -- Better one that failed a moment ago than none.
    node = pick(tried)
  end
  if node ~= "" and room and node ~= at and (at == "" or node ~= user) then
    local moved = run(redis, scripts.room, 1, settings.prefix .. ":room:" .. room, at, node, settings.room_lifetime)
    if moved ~= node then
      -- Others of the room were faster: to them.
      at = moved
      node = pick(failed)
    end
  end
  return node
end

-- The next of the nodes as they were last seen.
local function next_known(tried)
  local nodes, failed = known()
  local function next_but(excluded)
    local out, left = {}, {}
    for _, node in ipairs(excluded) do
      out[node] = true
    end
    for _, node in ipairs(nodes) do
      if not out[node] then
        left[#left + 1] = node
      end
    end
    return #left > 0 and left[shared:incr("turns", 1, 0) % #left + 1] or nil
  end
  for _, node in ipairs(tried) do
    failed[#failed + 1] = node
  end
  -- Better one that failed a moment ago than none.
  return next_but(failed) or next_but(tried) or ""
end

-- Requests --

local function answer(status, code, message)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  if status == 503 then
    ngx.header["Retry-After"] = "1"
  end
  local body = ('{"error":{"code":"%s","message":"%s"}}'):format(code, message)
  ngx.header["Content-Length"] = #body
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

-- Whether a node will open a connection for it, as far as can be seen from here (RFC 6455, section 4.2.1).
local function is_upgrade()
  local var = ngx.var
  return settings.sockets[var.uri]
    and var.request_method == "GET"
    and var.kengine_connection == "upgrade"
    and (var.http_upgrade or ""):lower():find("websocket", 1, true)
    and var.http_sec_websocket_version == "13"
    and #(var.http_sec_websocket_key or "") == 24
end

-- Sends the request to a node that it was not sent to yet.
local function send(tried)
  local var = ngx.var
  local reservation = var.kengine_reservation
  if reservation == "" and is_upgrade() then
    -- Another id each time it is read: by the same one the next pick gives back the seat at the node before.
    reservation = var.request_id
  end
  local node = with_redis(function(redis)
    return ask_directory(redis, reservation, tried)
  end)
  if not node then
    node = next_known(tried)
    reservation = ""
  end
  if node == "" then
    return answer(503, "no_node", "no node takes players at present")
  end
  tried[#tried + 1] = node
  var.kengine_tried = table.concat(tried, " ")
  var.kengine_node = node
  var.kengine_reservation = reservation
end

-- Picks a node for the request, as `$kengine_node`.
function kengine.pick()
  local uri = ngx.var.uri
  if not settings.sockets[uri] and not settings.pages[uri] then
    return answer(404, "not_found", "there is nothing here")
  end
  return send {}
end

-- Picks another, when that one refused the request or could not be reached.
function kengine.again()
  local tried = {}
  for node in ngx.var.kengine_tried:gmatch("%S+") do
    tried[#tried + 1] = node
  end
  shared:set("failed " .. tried[#tried], true, FAILED_FOR)
  if #tried > TRIES then
    return answer(503, "no_node", "no node took this request")
  end
  return send(tried)
end

return kengine
