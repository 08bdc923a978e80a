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
-- How long requests wait while nothing comes from Redis, in seconds; and while it is slow.
local STALLED_AFTER, FOUND_WITHIN = 0.1, 0.5
-- How many requests are asked for together.
local BATCH = 64
-- How often Redis is tried while it is away, in seconds; and how long nodes may take to come back when it is.
local TRIED_EVERY, RETURNED_WITHIN = 0.25, 5
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
-- is `away`, and whether that was `told`; that it has `returned` a moment ago; whose `turns` it is while it is away; an
-- `error` of ours.
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

-- When Redis began to owe the answer that is waited for, if one is.
local owed_since

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
  owed_since = now()
  return answer
end

-- Whether `ask` did it with a connection to Redis, and why not.
local function with_connection(ask)
  local redis
  owed_since = now()
  local done, why = pcall(function()
    redis = answered(connect())
    ask(redis)
  end)
  owed_since = nil
  if done then
    redis:set_keepalive(60000, 1)
  elseif redis then
    redis:close()
  end
  return done, why
end

-- Runs a script for each of some requests, all in one round trip: `arguments` gives it keys and arguments, and `take`
-- gets what it returns.
local function run(redis, script, requests, arguments, take)
  if #requests == 0 then
    return
  end
  redis:init_pipeline()
  for _, request in ipairs(requests) do
    redis:evalsha(script.hash, arguments(request))
  end
  local answers = answered(redis:commit_pipeline())
  for i, request in ipairs(requests) do
    local answer = answers[i]
    if type(answer) == "table" and answer[1] == false then
      if not answer[2]:find("NOSCRIPT", 1, true) then
        error(answer[2], 0)
      end
      answer = answered(redis:eval(script.code, arguments(request)))
    end
    take(request, answer)
  end
end

-- Tries Redis while it is away, by what it would refuse when it is full or a replica, and tells of it once. In a timer,
-- whose lines in the log hold no request.
local function watch(premature)
  if premature then
    return
  end
  local err = shared:get("error")
  if err then
    shared:delete("error")
    ngx.log(ngx.ERR, "kengine: ", err)
  end
  local why = shared:get("away")
  if why then
    if shared:add("told", true) then
      ngx.log(ngx.WARN, "kengine: the directory is away (", why, "): players are spread over the nodes as last seen")
    end
    local is_back = with_connection(function(redis)
      -- The room without a name, which nobody can ask for.
      answered(redis:set(settings.prefix .. ":room:", "", "PX", 1))
    end)
    if is_back then
      shared:set("returned", true, RETURNED_WITHIN)
      shared:delete("away")
      shared:delete("told")
      ngx.log(ngx.WARN, "kengine: the directory is back")
    end
  end
  ngx.timer.at(TRIED_EVERY, watch)
end

-- Begins a worker's work; one of them watches over Redis for all.
function kengine.start()
  if ngx.worker.id() == 0 then
    ngx.timer.at(0, watch)
  end
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

local function filtered(requests, is_wanted)
  local wanted = {}
  for _, request in ipairs(requests) do
    if is_wanted(request) then
      wanted[#wanted + 1] = request
    end
  end
  return wanted
end

local function room_key(request)
  return settings.prefix .. ":room:" .. (request.room or "")
end

-- Learns where users are, as which process, and where rooms are.
local function locate(redis, requests)
  local some = filtered(requests, function(request)
    return request.uid or request.room
  end)
  if #some == 0 then
    return
  end
  redis:init_pipeline()
  for _, request in ipairs(some) do
    redis:hmget(settings.prefix .. ":user:" .. (request.uid or ""), "address", "boot")
    redis:get(room_key(request))
    redis:pexpire(room_key(request), settings.room_lifetime)
  end
  local found = answered(redis:commit_pipeline())
  local function text(value)
    return type(value) == "string" and value or ""
  end
  for i, request in ipairs(some) do
    local user, room = found[3 * i - 2], found[3 * i - 1]
    user = type(user) == "table" and user or {}
    request.user, request.boot, request.at = text(user[1]), text(user[2]), text(room)
  end
end

-- Has Redis pick the `node` of each request: `""` where none takes players, nothing where the directory is not to be
-- believed, since nodes come back to it.
local function pick(redis, requests)
  local keys = "{" .. settings.prefix .. "}:"
  run(redis, scripts.pick, requests, function(request)
    request.listing = shared:add("noted", true, NOTED_EVERY) and "1" or request.listing
    return 2, keys .. "load", keys .. "lease", request.reservation, RESERVED_FOR, request.before, request.user,
      request.boot, request.at, request.listing, unpack(request.failed)
  end, function(request, picked)
    if request.listing == "1" and #picked > 1 then
      shared:set("nodes", table.concat(picked, " ", 2))
    end
    request.node = picked[1]
    request.before = picked[1] or ""
    if #picked == 1 and picked[1] == "" and shared:get("returned") then
      request.node = nil
    end
  end)
end

-- Finds the nodes of some requests: in two round trips, one more for rooms that are new, and one for who was late
-- there.
local function find(redis, requests)
  locate(redis, requests)
  pick(redis, requests)
  local left = filtered(requests, function(request)
    return request.node == "" and #request.failed > #request.tried
  end)
  for _, request in ipairs(left) do
    -- Better one that failed a moment ago than none.
    request.failed = request.tried
  end
  pick(redis, left)
  local movers = filtered(requests, function(request)
    local node, at = request.node, request.at
    return request.room and node and node ~= "" and node ~= at and (at == "" or node ~= request.user)
  end)
  local late = {}
  run(redis, scripts.room, movers, function(request)
    return 1, room_key(request), request.at, request.node, settings.room_lifetime
  end, function(request, at)
    if at ~= request.node then
      -- Others of the room were faster: to them.
      request.at = at
      late[#late + 1] = request
    end
  end)
  pick(redis, late)
end

-- Requests that wait for a node, and whether somebody asks for them.
local waiting, is_asking = {}, false

-- Asks for those that wait, over the one connection that a worker has. In a timer, which no request takes along when it
-- ends.
local function ask()
  local batch, rest = {}, {}
  for _, request in ipairs(waiting) do
    if #batch == BATCH then
      rest[#rest + 1] = request
    elseif not request.is_gone then
      request.is_asked = true
      batch[#batch + 1] = request
    end
  end
  waiting = rest
  local done, why = with_connection(function(redis)
    find(redis, batch)
  end)
  if not done then
    shared:add("away", why)
  end
  for _, request in ipairs(batch) do
    request.is_answered = done
    request.found:post()
  end
  is_asking = #waiting > 0 and ngx.timer.at(0, ask)
end

-- The node that the directory has for a request, or nothing when Redis is away or slow. For a Redis that hangs, only
-- those wait that it was asked for.
local function find_in_directory(reservation, tried)
  local function is_stalled()
    return shared:get("away") or owed_since and now() - owed_since >= STALLED_AFTER
  end
  if is_stalled() then
    return nil
  end
  local _, failed = known()
  for _, node in ipairs(tried) do
    failed[#failed + 1] = node
  end
  local request = { reservation = reservation, tried = tried, failed = failed, before = tried[#tried] or "",
    user = "", boot = "", at = "", listing = "0", found = assert(semaphore.new()) }
  if reservation ~= "" then
    -- For who asks for no seat, nobody needs to be found.
    request.uid, request.room = named(settings.uid, LONGEST_UID), named(settings.room, LONGEST_ROOM)
  end
  waiting[#waiting + 1] = request
  is_asking = is_asking or ngx.timer.at(0, ask)
  local until_then = now() + FOUND_WITHIN
  repeat
    local found, err = request.found:wait(STALLED_AFTER)
  until found or err ~= "timeout" or now() >= until_then or not request.is_asked and is_stalled()
  request.is_gone = true
  return request.is_answered and request.node or nil
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
    and (var.http_upgrade or ""):lower() == "websocket"
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
  local node = find_in_directory(reservation, tried)
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

-- Handles a request. An error of ours is told by `watch`: beside one that is told here, the whole request would stand.
local function handled(handle)
  local done, err = pcall(handle)
  if not done then
    shared:set("error", err)
    return answer(500, "internal", "the gateway failed")
  end
end

-- Picks a node for the request, as `$kengine_node`.
function kengine.pick()
  return handled(function()
    local uri = ngx.var.uri
    if not settings.sockets[uri] and not settings.pages[uri] then
      return answer(404, "not_found", "there is nothing here")
    end
    return send {}
  end)
end

-- Picks another, when that one refused the request or could not be reached.
function kengine.again()
  return handled(function()
    local tried = {}
    for node in ngx.var.kengine_tried:gmatch("%S+") do
      tried[#tried + 1] = node
    end
    if #tried == 0 then
      -- It was nginx itself that refused it, as `limit_req` does.
      return answer(503, "unavailable", "the gateway does not take this request at present")
    end
    shared:set("failed " .. tried[#tried], true, FAILED_FOR)
    if #tried > TRIES then
      return answer(503, "no_node", "no node took this request")
    end
    return send(tried)
  end)
end

return kengine
