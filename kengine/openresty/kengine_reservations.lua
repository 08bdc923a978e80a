-- Limits how many seats are reserved for one client address by requests that no node has answered yet. A node redeems
-- the reservation when it answers.
local reservations = {}

-- How long a seat is reserved for a player who has been sent to a node, in milliseconds.
reservations.LIFETIME = 5000

-- Shared by all workers. For each address, `ADDRESS 1` to `ADDRESS MAX` are set to the reservation that they count.
local shared = ngx.shared.kengine_reservations
local max

-- Sets the most reservations of an address.
function reservations.setup(max_per_address)
  max = max_per_address
end

-- Counts a reservation. Returns the key that `release` needs, which is empty if the address is not limited, or nil if
-- the address has too many reservations.
function reservations.count(reservation, address)
  if address == "" then
    return ""
  end
  for number = 1, max do
    local key = address .. " " .. number
    if shared:add(key, reservation, reservations.LIFETIME / 1000) then
      return key
    end
  end
end

-- Stops counting a reservation, unless it has expired and another one is counted in its place.
function reservations.release(reservation, key)
  if key ~= "" and shared:get(key) == reservation then
    shared:delete(key)
  end
end

return reservations
