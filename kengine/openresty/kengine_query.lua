-- Reads the query of a request exactly as nodes do: as `application/x-www-form-urlencoded` (WHATWG URL). Each parameter
-- is decoded, names keep their case, and of several parameters with the same name the first counts.
-- A token of a player who resumes a connection, as nodes write it: the tag of the node, and 128 random bits.
local TOKEN = "^resume=(" .. ("[%da-f]"):rep(8) .. ")%-" .. ("[%da-f]"):rep(32) .. "$"

local query = {}

-- The characters that have more than one byte in UTF-8 (Unicode, table 3-7).
local CHARACTERS = {
  "^[\194-\223][\128-\191]",
  "^\224[\160-\191][\128-\191]",
  "^[\225-\236\238\239][\128-\191][\128-\191]",
  "^\237[\128-\159][\128-\191]",
  "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]",
  "^\244[\128-\143][\128-\191][\128-\191]",
}
-- What a name must not contain: control characters, line and paragraph separators, and the characters that change the
-- direction of text (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069).
local FORBIDDEN = { "%c", "\194[\128-\159]", "\216\156", "\226\128[\142\143\168-\174]", "\226\129[\166-\169]" }

-- Returns the end of the character at a position, or nil if there is no valid one.
local function character_end(text, at)
  for _, character in ipairs(CHARACTERS) do
    local _, last = text:find(character, at)
    if last then
      return last
    end
  end
end

local function is_utf8(text)
  local at = text:find("[\128-\255]")
  while at do
    local last = character_end(text, at)
    if not last then
      return false
    end
    at = text:find("[\128-\255]", last + 1)
  end
  return true
end

-- A `%` without two hexadecimal digits stands for itself.
local function decoded(text)
  text = text:gsub("%+", " ")
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function find(text, name)
  for parameter in text:gmatch("[^&]+") do
    local key, value = parameter:match("^([^=]*)=?(.*)$")
    if decoded(key) == name then
      return decoded(value)
    end
  end
end

-- Returns whether nodes accept the text as a query: it must be UTF-8 when it is decoded.
function query.is_valid(text)
  return not text:find('["<>]') and is_utf8(text) and is_utf8(decoded(text))
end

-- Returns the name in a parameter of a valid query, or nil if it is missing, empty, or has more than `max` bytes.
-- Returns false if nodes refuse it, because it contains a character that names must not contain.
function query.name(text, parameter, max)
  local name = find(text, parameter)
  if not name or name == "" or #name > max then
    return nil
  end
  for _, characters in ipairs(FORBIDDEN) do
    if name:find(characters) then
      return false
    end
  end
  return name
end

-- Returns the tag of the node in the token of a player who resumes a connection. Returns nil if the query has no token,
-- several, or one that is not written as nodes write it.
function query.tag(text)
  local token
  for parameter in text:gmatch("[^&]+") do
    if decoded(parameter:match("^[^=]*")) == "resume" then
      if token then
        return nil
      end
      token = parameter
    end
  end
  return token and token:match(TOKEN)
end

return query
