-- The rest is written by hand (dissector_core.lua). It knows fields only by the tables above.
--
-- It decodes single packets (pcapng of `lenslink replay`, link type USER0) and streams ("Decode As"
-- on a TCP port). In pcapng the interface is the lane, and the packet flags hold the direction.

local bit = bit or bit32
local lenslink = Proto("lenslink", "LensLink")
local HEADER_BYTES = 0
local registered = {}
local SIZES = {B = 1, H = 2, I = 4, i = 4, Q = 8}
local MAKERS = {
  B = ProtoField.uint8, H = ProtoField.uint16, I = ProtoField.uint32, Q = ProtoField.uint64,
  i = ProtoField.int32,
}
local STATUS = {[0] = "Bad", [1] = "Good", [2] = "Unverified"}
local BAD, GOOD, UNVERIFIED = 0, 1, 2

local function register(name, field)
  registered[#registered + 1] = field
  return field
end

-- Give each field of a layout its ProtoField and its width.
local function prepare(prefix, layout)
  for _, field in ipairs(layout) do
    local name, kind, count, doc, enum = field[1], field[2], field[3], field[4], field[5]
    local abbr = prefix .. name
    field.width = SIZES[kind] or (kind == "s" and 1) or 0
    field.bytes = field.width * count
    if kind == "text" then
      field.proto = register(abbr, ProtoField.string(abbr, name, base.UNICODE, doc))
    elseif kind == "s" or kind == "tail" then
      field.proto = register(abbr, ProtoField.bytes(abbr, name, base.NONE, doc))
    elseif kind == "i" then
      field.proto = register(abbr, ProtoField.int32(abbr, name, base.DEC, nil, nil, doc))
    else
      local names = enum and not ENUMS[enum].flags and ENUMS[enum].names or nil
      local shown = (enum or name:find("crc") or name == "nonce" or name == "version")
        and base.HEX or base.DEC
      field.proto = register(abbr, MAKERS[kind](abbr, name, shown, names, nil, doc))
    end
  end
end

prepare("lenslink.", HEADER)
prepare("lenslink.setting.", SETTING)
for _, field in ipairs(HEADER) do HEADER_BYTES = HEADER_BYTES + field.bytes end
for _, message in pairs(MESSAGES) do
  prepare("lenslink." .. message.abbr .. ".", message.fields)
end
for _, entry in pairs(ENTRIES) do
  prepare("lenslink.manifest." .. entry.abbr .. ".", entry.fields)
end

local own = {
  header_status = ProtoField.uint8(
    "lenslink.header_crc.status", "Header CRC status", base.DEC, STATUS),
  payload_status = ProtoField.uint8(
    "lenslink.payload_crc.status", "Payload CRC status", base.DEC, STATUS),
  payload = ProtoField.bytes("lenslink.payload", "Payload"),
  noise = ProtoField.bytes("lenslink.noise", "Bytes that belong to no packet"),
  direction = ProtoField.string("lenslink.direction", "Direction"),
  entry = ProtoField.uint16(
    "lenslink.manifest.key", "Manifest entry", base.HEX, ENUMS.ManifestKey.names),
}
for name, field in pairs(own) do register(name, field) end
lenslink.fields = registered

local crc_bad = ProtoExpert.new(
  "lenslink.crc.bad", "A CRC is wrong", expert.group.CHECKSUM, expert.severity.ERROR)
local malformed = ProtoExpert.new(
  "lenslink.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
lenslink.experts = {crc_bad, malformed}

local packet_flags = Field.new("frame.packet_flags_direction")

-- CRC-32/ISO-HDLC.
local TABLE = {}
for index = 0, 255 do
  local value = index
  for _ = 1, 8 do
    if bit.band(value, 1) == 1 then
      value = bit.bxor(bit.rshift(value, 1), 0xEDB88320)
    else
      value = bit.rshift(value, 1)
    end
  end
  TABLE[index] = value
end

local function crc32(text)
  local crc = 0xFFFFFFFF
  local band, bxor, rshift = bit.band, bit.bxor, bit.rshift
  for start = 1, #text, 4096 do
    for _, byte in ipairs({text:byte(start, math.min(start + 4095, #text))}) do
      crc = bxor(TABLE[band(bxor(crc, byte), 0xFF)], rshift(crc, 8))
    end
  end
  -- Bit libraries differ in the sign of their results.
  return bxor(crc, 0xFFFFFFFF) % 4294967296
end

local function flag_names(enum, value)
  local names = {}
  for mask, name in pairs(ENUMS[enum].names) do
    if bit.band(value, mask) ~= 0 then names[#names + 1] = name end
  end
  table.sort(names)
  return #names > 0 and " (" .. table.concat(names, ", ") .. ")" or ""
end

-- Add the fields of a layout that lie inside `limit` bytes. Return the offset after them.
local function add_fields(tree, tvb, offset, layout, limit)
  local first = offset
  for _, field in ipairs(layout) do
    local kind, count = field[2], field[3]
    if kind == "text" or kind == "tail" then
      return offset, field
    end
    if offset + field.bytes > first + limit then
      return offset, nil
    end
    if kind == "s" then
      tree:add(field.proto, tvb(offset, count))
    else
      for index = 0, count - 1 do
        local range = tvb(offset + index * field.width, field.width)
        local item = tree:add_le(field.proto, range)
        if field[5] and ENUMS[field[5]].flags then
          item:append_text(flag_names(field[5], range:le_uint()))
        end
      end
    end
    offset = offset + field.bytes
  end
  return offset, nil
end

local function add_manifest(tree, tvb, offset, stop)
  while offset + 4 <= stop do
    local key, length = tvb(offset, 2):le_uint(), tvb(offset + 2, 2):le_uint()
    if offset + 4 + length > stop then return end
    local entry = ENTRIES[key]
    local branch = tree:add_le(own.entry, tvb(offset, 2))
    if entry and length > 0 then
      local value = offset + 4
      local at, tail = add_fields(branch, tvb, value, entry.fields, length)
      if tail then branch:add(tail.proto, tvb(at, value + length - at)) end
    end
    offset = offset + 4 + length
  end
end

local function add_settings(tree, tvb, offset, stop)
  while offset + 8 <= stop do
    local id = tvb(offset, 2):le_uint()
    local name = ENUMS.ControlId.names[id] or id
    local branch = tree:add(lenslink, tvb(offset, 8), "Setting: " .. name)
    add_fields(branch, tvb, offset, SETTING, 8)
    offset = offset + 8
  end
end

local function add_message(tree, tvb, offset, length, kind)
  local message = MESSAGES[kind]
  if not message then
    if length > 0 then tree:add(own.payload, tvb(offset, length)) end
    return
  end
  local branch = tree:add(lenslink, tvb(offset, length), message.name .. ": " .. message.doc)
  local size = length >= 2 and tvb(offset, 2):le_uint() or 0
  if size < 2 or size > length then
    branch:add_proto_expert_info(malformed, "the size field is wrong")
    return
  end
  local at, tail = add_fields(branch, tvb, offset, message.fields, size)
  at = offset + size
  if tail and at < offset + length then
    branch:add(tail.proto, tvb(at, offset + length - at))
    if message.abbr == "manifest_piece" then add_manifest(branch, tvb, at, offset + length) end
    if tail[1] == "settings" then add_settings(branch, tvb, at, offset + length) end
  end
end

local function add_status(tree, range, field, status)
  local item = tree:add(field, range, status)
  if status == BAD then item:add_proto_expert_info(crc_bad) end
end

-- Dissect the packet at `offset`. Return the offset after it, or nil and the number of missing bytes.
local function dissect_packet(tvb, pinfo, tree, offset)
  local left = tvb:reported_len() - offset
  local captured = tvb:len() - offset
  local length = tvb(offset + HEADER_BYTES - 12, 4):le_uint()
  local head = tvb(offset, HEADER_BYTES - 4):raw()
  local sealed = tvb(offset + HEADER_BYTES - 4, 4):le_uint()
  local sound = crc32(head) == sealed
  if sound and length > left - HEADER_BYTES and pinfo.can_desegment > 0 then
    return nil, length - (left - HEADER_BYTES)
  end
  local kind = tvb(offset + 5, 1):uint()
  local there = math.min(length, captured - HEADER_BYTES)
  if not sound then there = captured - HEADER_BYTES end
  local name = ENUMS.MessageType.names[kind] or string.format("type 0x%02X", kind)
  local branch = tree:add(lenslink, tvb(offset, HEADER_BYTES + there), "LensLink " .. name)
  add_fields(branch, tvb, offset, HEADER, HEADER_BYTES)
  add_status(branch, tvb(offset + HEADER_BYTES - 4, 4), own.header_status, sound and GOOD or BAD)
  local status = UNVERIFIED
  if sound and there == length then
    local payload = length > 0 and tvb(offset + HEADER_BYTES, length):raw() or ""
    status = crc32(payload) == tvb(offset + HEADER_BYTES - 8, 4):le_uint() and GOOD or BAD
  elseif sound and length > left - HEADER_BYTES then
    status = BAD
  end
  add_status(branch, tvb(offset + HEADER_BYTES - 8, 4), own.payload_status, status)
  if status == GOOD then
    add_message(branch, tvb, offset + HEADER_BYTES, length, kind)
  elseif there > 0 then
    branch:add(own.payload, tvb(offset + HEADER_BYTES, there))
  end
  local frame = tvb(offset + 16, 4):le_uint()
  local info = string.format("%s %d, %d bytes", name, frame, length)
  if not sound then info = "damaged header" elseif status == BAD then info = info .. ", damaged" end
  return offset + HEADER_BYTES + there, info
end

local function is_packet(tvb, offset)
  return tvb:len() - offset >= HEADER_BYTES and tvb(offset, #MAGIC):raw() == MAGIC
end

function lenslink.dissector(tvb, pinfo, tree)
  pinfo.cols.protocol = "LensLink"
  local flags = packet_flags()
  if flags then
    local towards = flags.value == 2 and "to the module" or flags.value == 1 and "to the host"
    if towards then
      tree:add(own.direction, towards):set_generated()
      pinfo.cols.src = towards == "to the host" and "module" or "host"
      pinfo.cols.dst = towards == "to the host" and "host" or "module"
    end
  end
  local offset, infos = 0, {}
  while offset < tvb:len() do
    if is_packet(tvb, offset) then
      local next_offset, info = dissect_packet(tvb, pinfo, tree, offset)
      if not next_offset then
        pinfo.desegment_offset, pinfo.desegment_len = offset, info
        break
      end
      infos[#infos + 1] = info
      offset = next_offset
    elseif pinfo.can_desegment > 0 and tvb:len() - offset < HEADER_BYTES then
      pinfo.desegment_offset = offset
      pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
      break
    else
      local start = offset
      repeat offset = offset + 1 until offset >= tvb:len() or is_packet(tvb, offset)
      tree:add(own.noise, tvb(start, offset - start))
      infos[#infos + 1] = string.format("%d bytes that are no packet", offset - start)
    end
  end
  pinfo.cols.info = table.concat(infos, "; ")
  return tvb:len()
end

local encapsulations = wtap or wtap_encaps
DissectorTable.get("wtap_encap"):add(encapsulations.USER0, lenslink)
DissectorTable.get("tcp.port"):add_for_decode_as(lenslink)
