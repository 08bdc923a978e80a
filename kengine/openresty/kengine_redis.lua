-- Access to Redis: one connection for each worker, the scripts that run inside Redis, and whether Redis answers.
local semaphore = require "ngx.semaphore"

local function find_client()
  -- OpenResty's client, then Debian's.
  for _, name in ipairs { "resty.redis", "nginx.redis" } do
    local found, client = pcall(require, name)
    if found then
      return client
    end
  end
  error("kengine: there is no Redis client for Lua: install `lua-nginx-redis` (Debian) or use OpenResty", 0)
end

local client = find_client()

-- The most time that one answer of Redis may take, in milliseconds. After that, Redis counts as away.
local ANSWER_TIMEOUT = 250
-- How long an answer may be outstanding before no more requests wait for Redis, in seconds.
local STALL_TIMEOUT = 0.1
-- How long an unused connection stays open, in milliseconds.
local IDLE_TIMEOUT = 60000
-- The most time to wait for the worker's connection, in seconds. Each use of it ends far sooner.
local LOCK_TIMEOUT = 60
-- How many bytes of the password an error must contain to count as quoting it. Servers cut off long arguments.
local QUOTED_LEN = 16

local redis = {}
local server
local scripts = {}
-- Guards the worker's connection.
local lock
-- When the worker began to wait for the outstanding answer, or nil if there is none.
local waiting_since
-- Shared by all workers. `away` holds the reason while Redis does not answer.
local shared = ngx.shared.kengine

-- Returns the current time in seconds. The time that nginx caches does not advance while a worker is busy.
function redis.now()
  ngx.update_time()
  return ngx.now()
end

-- Sets the server to connect to, and reads the scripts in the folder.
function redis.setup(at, folder)
  server = at
  for _, name in ipairs { "list", "pick", "room" } do
    local file = assert(io.open(folder .. "/" .. name .. ".lua"))
    local code = file:read("*a")
    file:close()
    local hash = ngx.sha1_bin(code):gsub(".", function(char)
      return ("%02x"):format(char:byte())
    end)
    scripts[name] = { code = code, hash = hash }
  end
end

-- Prepares a worker.
function redis.start()
  lock = assert(semaphore.new(1))
end

-- Logs in. An error that quotes the password is replaced, because errors are logged: a server that does not know the
-- command quotes its arguments.
local function log_in(connection)
  local done, err
  if server.user then
    done, err = connection:auth(server.user, server.password)
  else
    done, err = connection:auth(server.password)
  end
  if err and err:find(server.password:sub(1, QUOTED_LEN), 1, true) then
    err = "the server refuses to log in; its answer is left out, because it quotes the password"
  end
  return done, err
end

local function connect()
  local connection = client:new()
  connection:set_timeout(ANSWER_TIMEOUT)
  local connected, err
  if server.port then
    connected, err = connection:connect(server.host, server.port, { pool = "kengine" })
  else
    connected, err = connection:connect(server.host, { pool = "kengine" })
  end
  if not connected then
    return nil, err
  end
  if connection:get_reused_times() > 0 then
    return connection
  end
  if server.tls then
    connected, err = connection._sock:sslhandshake(nil, server.tls, server.verify)
  end
  if connected and server.password then
    connected, err = log_in(connection)
  end
  if connected and server.database then
    connected, err = connection:select(server.database)
  end
  if not connected then
    connection:close()
    return nil, err
  end
  return connection
end

-- Returns an answer of Redis, or raises its error. The wait for the next answer begins now.
function redis.answered(answer, err)
  if not answer then
    error(err or "no answer", 0)
  end
  waiting_since = redis.now()
  return answer
end

-- Calls `ask` with the worker's connection to Redis, for one caller at a time. Returns whether it succeeded
-- and, if it did not, why. Works only where code may yield, as in a timer.
function redis.use(ask)
  local is_locked, refusal = lock:wait(LOCK_TIMEOUT)
  if not is_locked then
    return false, refusal
  end
  local connection
  waiting_since = redis.now()
  local done, why = pcall(function()
    connection = redis.answered(connect())
    ask(connection)
  end)
  waiting_since = nil
  if done then
    connection:set_keepalive(IDLE_TIMEOUT, 1)
  elseif connection then
    connection:close()
  end
  lock:post()
  return done, why
end

-- Runs a script once for each item, all in one round trip. `arguments` returns the number of keys, the keys and the
-- arguments for an item; `take` gets the item and what the script returned.
function redis.run(connection, name, items, arguments, take)
  if #items == 0 then
    return
  end
  local script = scripts[name]
  connection:init_pipeline()
  for _, item in ipairs(items) do
    connection:evalsha(script.hash, arguments(item))
  end
  local answers = redis.answered(connection:commit_pipeline())
  for i, item in ipairs(items) do
    local answer = answers[i]
    if type(answer) == "table" and answer[1] == false then
      if not answer[2]:find("NOSCRIPT", 1, true) then
        error(answer[2], 0)
      end
      answer = redis.answered(connection:eval(script.code, arguments(item)))
    end
    take(item, answer)
  end
end

-- Returns why Redis is away, or nil if it answers.
function redis.away()
  return shared:get("away")
end

-- Notes for all workers that Redis is away.
function redis.set_away(why)
  shared:add("away", why)
end

-- Notes for all workers that Redis answers again.
function redis.set_back()
  shared:delete("away")
end

-- Returns whether Redis is away, or this worker has been waiting for an answer for too long.
function redis.is_stalled()
  return redis.away() ~= nil or waiting_since ~= nil and redis.now() - waiting_since >= STALL_TIMEOUT
end

return redis
