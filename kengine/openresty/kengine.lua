-- The gateway of a kengine cluster: sends each player to the node with the least load. The directory in Redis records
-- the load.
--
-- For OpenResty, and for nginx with ngx_lua. See nginx.conf for how it is used: `init_by_lua` calls `setup`,
-- `init_worker_by_lua` calls `start`, each request calls `pick`, and `again` when the node that was picked did not take
-- the request. `answered` is called before an answer is sent, and `limit` answers requests beyond the limits in
-- nginx.conf.
local redis = require "kengine_redis"
local nodes = require "kengine_nodes"
local picker = require "kengine_picker"
local query = require "kengine_query"
local reservations = require "kengine_reservations"

-- The most nodes that are tried for one request after the first.
local RETRIES = 3
-- The longest names that nodes accept, in bytes. Longer ones are ignored here.
local MAX_UID, MAX_ROOM = 128, 64

local kengine = {}
local settings

-- Reads the settings and the scripts in the folder.
function kengine.setup(folder)
  settings = dofile(folder .. "/settings.lua")
  redis.setup(settings.redis, folder)
  nodes.setup(settings.prefix)
  picker.setup(settings)
  reservations.setup(settings.max_reservations_per_address)
end

-- Starts a worker.
function kengine.start()
  redis.start()
  nodes.start()
end

-- Escapes a name, so that no character in it has a special meaning in a key of Redis.
local function encoded(name)
  return name and (name:gsub("[^%w%-._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

local function answer(status, code, message)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  if status == 429 or status == 503 then
    ngx.header["Retry-After"] = "1"
  end
  local body = ('{"error":{"code":"%s","message":"%s"}}'):format(code, message)
  ngx.header["Content-Length"] = #body
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

-- Returns whether a node will accept the request as a WebSocket handshake, as far as the gateway can tell (RFC 6455,
-- section 4.2.1).
local function is_upgrade()
  local var = ngx.var
  return settings.sockets[var.uri]
    and var.request_method == "GET"
    and var.kengine_connection == "upgrade"
    and (var.http_upgrade or ""):lower() == "websocket"
    and var.http_sec_websocket_version == "13"
    and #(var.http_sec_websocket_key or "") == 24
end

-- Sends the request to this node. A retry tries none of these nodes again.
local function send_to(node, reservation, tried)
  local var = ngx.var
  tried[#tried + 1] = node
  var.kengine_tried = table.concat(tried, " ")
  var.kengine_node = node
  var.kengine_reservation = reservation
end

-- Sends the request to a node other than those that were tried.
local function send(tried)
  local var = ngx.var
  local reservation = var.kengine_reservation
  local uid, room
  if is_upgrade() then
    local text = var.args or ""
    uid, room = query.name(text, settings.uid, MAX_UID), query.name(text, settings.room, MAX_ROOM)
    if uid == false or room == false or not query.is_valid(text) then
      return answer(400, "bad_request", "the query is malformed, or names an invalid user or room")
    end
    local tag = #tried == 0 and query.tag(text)
    local holder = tag and nodes.tagged(tag)
    if holder then
      -- The node holds the player's session, and goes on with it. No seat is reserved, because the player still counts
      -- there.
      return send_to(holder, "", tried)
    end
    if reservation == "" then
      -- `request_id` differs each time it is read, so it is stored: a retry must release the seat at the previous node.
      reservation = var.request_id
      local counted = reservations.count(reservation, var.kengine_client)
      if not counted then
        return answer(429, "rate_limited", "too many requests of this address wait for an answer")
      end
      var.kengine_counted = counted
    end
  end
  local node = picker.find(reservation, tried, encoded(uid), encoded(room))
  if not node or node == "" then
    reservations.release(reservation, var.kengine_counted)
    reservation = ""
  end
  if not node then
    if not nodes.are_known() then
      return answer(503, "unavailable", "the gateway does not know the nodes yet")
    end
    node = nodes.next(tried) or ""
  end
  if node == "" then
    return answer(503, "no_node", "no node takes players at present")
  end
  return send_to(node, reservation, tried)
end

-- Handles a request, and answers 500 if there is an error in this code.
local function handled(handle)
  local done, err = pcall(handle)
  if not done then
    nodes.note_error(err)
    return answer(500, "internal", "the gateway failed")
  end
end

-- Picks a node for the request and stores it in `$kengine_node`.
function kengine.pick()
  return handled(function()
    local uri = ngx.var.uri
    if not settings.sockets[uri] and not settings.pages[uri] then
      return answer(404, "not_found", "there is nothing here")
    end
    return send {}
  end)
end

-- Picks another node after the last one could not be reached, or answered that it takes no players.
function kengine.again()
  return handled(function()
    -- nginx has copied this from that node's answer.
    ngx.header["Content-Type"] = nil
    local tried = {}
    for node in ngx.var.kengine_tried:gmatch("%S+") do
      tried[#tried + 1] = node
    end
    nodes.set_failed(tried[#tried])
    if #tried > RETRIES then
      return answer(503, "no_node", "no node took this request")
    end
    return send(tried)
  end)
end

-- Notes that a request is answered.
function kengine.answered()
  reservations.release(ngx.var.kengine_reservation, ngx.var.kengine_counted)
end

-- Answers a request beyond the limits in nginx.conf.
function kengine.limit()
  return answer(429, "rate_limited", "too many connections or requests of this address")
end

return kengine
