-- Wireshark dissector of the LensLink protocol. Generated from lenslink_protocol/structs.py by `make gen`; do not edit.

local MAGIC = "\138\76\76\75"

local ENUMS = {
  AuthScheme = {flags = false, names = {
    [1] = "HMAC_SHA256",
  }},
  BusyReason = {flags = false, names = {
    [1] = "FLASH",
    [2] = "CALIBRATION",
    [3] = "OTHER",
  }},
  CalibrationKind = {flags = false, names = {
    [1] = "NOISE",
    [2] = "GAIN_MAP",
    [3] = "DISTORTION",
    [4] = "BLUR",
    [5] = "DEFECTS",
  }},
  Capability = {flags = true, names = {
    [1] = "LOG",
    [2] = "RESEND",
    [4] = "TEST",
    [8] = "AUTH",
    [16] = "EVENTS",
  }},
  Cfa = {flags = false, names = {
    [0] = "RGGB",
    [1] = "GRBG",
    [2] = "GBRG",
    [3] = "BGGR",
  }},
  CloseReason = {flags = false, names = {
    [0] = "ORDERLY",
    [1] = "DETACH",
    [2] = "POWER",
    [3] = "INTERNAL",
  }},
  ConfigureFlag = {flags = true, names = {
    [1] = "TEST_ONLY",
    [2] = "ADJUSTED",
  }},
  ControlFlag = {flags = true, names = {
    [1] = "PER_FRAME",
  }},
  ControlId = {flags = false, names = {
    [1] = "EXPOSURE",
    [2] = "GAIN",
    [3] = "FOCUS",
    [4] = "APERTURE",
    [5] = "SETTLED",
    [6] = "ROI_X",
    [7] = "ROI_Y",
  }},
  Damage = {flags = false, names = {
    [1] = "PAYLOAD",
    [2] = "HEADER",
  }},
  EndStatus = {flags = false, names = {
    [0] = "OK",
    [1] = "ABORTED",
    [2] = "SENSOR",
  }},
  ErrorCode = {flags = false, names = {
    [1] = "UNKNOWN_REQUEST",
    [2] = "MALFORMED",
    [3] = "VERSION",
    [4] = "STATE",
    [5] = "UNSUPPORTED",
    [6] = "NOT_ATTACHED",
    [7] = "SENSOR",
    [8] = "POWER",
    [9] = "REPEATED",
  }},
  EventKind = {flags = false, names = {
    [1] = "RING",
    [2] = "CONTACTS",
    [3] = "HEAT",
    [4] = "POWER",
  }},
  Flag = {flags = true, names = {
    [1] = "RESENT",
  }},
  FrameFlag = {flags = true, names = {
    [1] = "ADJUSTED",
    [2] = "MOVING",
  }},
  FrameState = {flags = false, names = {
    [0] = "UNDER_WAY",
    [1] = "ENDED",
    [2] = "UNKNOWN",
  }},
  LogLevel = {flags = false, names = {
    [1] = "DEBUG",
    [2] = "INFO",
    [3] = "WARNING",
    [4] = "ERROR",
  }},
  ManifestKey = {flags = false, names = {
    [1] = "MAKER",
    [2] = "MODEL",
    [3] = "SERIAL",
    [4] = "FIRMWARE",
    [5] = "BOARD",
    [16] = "SENSOR",
    [17] = "COLOR",
    [18] = "MODE",
    [19] = "FORMAT",
    [32] = "OPTICS",
    [33] = "POWER",
    [34] = "SCALE",
    [35] = "AUTH",
    [36] = "CONTROL",
    [37] = "FOCUS",
    [38] = "DELAY",
    [39] = "CALIBRATION",
  }},
  MessageType = {flags = false, names = {
    [1] = "HELLO",
    [2] = "HELLO_REPLY",
    [3] = "GET_MANIFEST",
    [4] = "MANIFEST",
    [5] = "CONFIGURE",
    [6] = "CONFIGURED",
    [7] = "CAPTURE",
    [8] = "STREAM",
    [9] = "STOP",
    [10] = "FLUSH",
    [11] = "ACCEPTED",
    [12] = "FLUSHED",
    [13] = "ERROR",
    [14] = "CLOSE",
    [15] = "HEARTBEAT",
    [16] = "HEARTBEAT_REPLY",
    [17] = "PENDING",
    [18] = "BUSY",
    [19] = "NOTICE",
    [20] = "RESEND",
    [21] = "RESENT",
    [24] = "QUERY",
    [25] = "QUERY_REPLY",
    [26] = "TEST",
    [27] = "CHALLENGE",
    [28] = "PROOF",
    [29] = "SET_SETTINGS",
    [30] = "EVENT",
    [31] = "SET_BUDGET",
    [32] = "GET_CALIBRATION",
    [33] = "CALIBRATION",
    [64] = "FRAME_START",
    [65] = "TILE",
    [66] = "FRAME_END",
    [96] = "LOG",
  }},
  ModeUse = {flags = true, names = {
    [1] = "PREVIEW",
    [2] = "STILL",
  }},
  NoticeReason = {flags = false, names = {
    [1] = "RELEASE",
    [2] = "SUPPLY",
    [3] = "HEAT",
  }},
  Outcome = {flags = false, names = {
    [0] = "UNKNOWN",
    [1] = "NOT_DONE",
    [2] = "DONE",
  }},
  PixelFormat = {flags = false, names = {
    [17825804] = "GR10",
    [17825805] = "RG10",
    [17825806] = "GB10",
    [17825807] = "BG10",
    [17825808] = "GR12",
    [17825809] = "RG12",
    [17825810] = "GB12",
    [17825811] = "BG12",
    [17826057] = "GR14",
    [17826058] = "RG14",
    [17826059] = "GB14",
    [17826060] = "BG14",
    [17825838] = "GR16",
    [17825839] = "RG16",
    [17825840] = "GB16",
    [17825841] = "BG16",
    [17432662] = "GR10p",
    [17432664] = "RG10p",
    [17432660] = "GB10p",
    [17432658] = "BG10p",
    [17563735] = "GR12p",
    [17563737] = "RG12p",
    [17563733] = "GB12p",
    [17563731] = "BG12p",
    [17694981] = "GR14p",
    [17694982] = "RG14p",
    [17694983] = "GB14p",
    [17694984] = "BG14p",
    [17563690] = "GR12Packed",
    [17563691] = "RG12Packed",
    [17563692] = "GB12Packed",
    [17563693] = "BG12Packed",
    [2164927232] = "GR10Mipi",
    [2164927233] = "RG10Mipi",
    [2164927234] = "GB10Mipi",
    [2164927235] = "BG10Mipi",
    [2165058560] = "GR12Mipi",
    [2165058561] = "RG12Mipi",
    [2165058562] = "GB12Mipi",
    [2165058563] = "BG12Mipi",
    [2165189888] = "GR14Mipi",
    [2165189889] = "RG14Mipi",
    [2165189890] = "GB14Mipi",
    [2165189891] = "BG14Mipi",
    [2164948992] = "GR10Rice",
    [2164948993] = "RG10Rice",
    [2164948994] = "GB10Rice",
    [2164948995] = "BG10Rice",
    [2165080064] = "GR12Rice",
    [2165080065] = "RG12Rice",
    [2165080066] = "GB12Rice",
    [2165080067] = "BG12Rice",
    [2165211136] = "GR14Rice",
    [2165211137] = "RG14Rice",
    [2165211138] = "GB14Rice",
    [2165211139] = "BG14Rice",
  }},
  ResendFlag = {flags = true, names = {
    [1] = "START",
    [2] = "END",
  }},
  ResetReason = {flags = false, names = {
    [0] = "POWER_ON",
    [1] = "RESET",
    [2] = "WATCHDOG",
    [3] = "SOFT",
  }},
  TestAction = {flags = false, names = {
    [1] = "BUSY",
    [2] = "STALL",
    [3] = "REJECT",
    [4] = "PENDING",
    [5] = "DETACH",
  }},
}

-- A field: name, type, count, meaning, enumeration of its values.
local HEADER = {
  {"magic", "s", 4, "8A 4C 4C 4B"},
  {"version", "B", 1, "major version in bits 4 to 7, minor version in bits 0 to 3"},
  {"type", "B", 1, "message type", "MessageType"},
  {"flags", "B", 1, "flags of the packet; a reader ignores unknown flags", "Flag"},
  {"stream", "B", 1, "stream of FrameStart, Tile, FrameEnd, Resend and Resent; else 0"},
  {"nonce", "I", 1, "number of the session, chosen by the host"},
  {"sequence", "I", 1, "number of the packet on its lane and in its direction; wraps at 2^32"},
  {"frame", "I", 1, "number of a frame, or id of a request; else 0"},
  {"x", "H", 1, "first column of a tile; else 0"},
  {"y", "H", 1, "first row of a tile; else 0"},
  {"width", "H", 1, "columns of a tile; else 0"},
  {"height", "H", 1, "rows of a tile; else 0"},
  {"length", "I", 1, "bytes of the payload, which follows the header"},
  {"payload_crc", "I", 1, "CRC-32/ISO-HDLC of the payload"},
  {"header_crc", "I", 1, "CRC-32/ISO-HDLC of the first 36 bytes of the header"},
}

local SETTING = {
  {"control", "H", 1, "id of a control", "ControlId"},
  {"frame", "H", 1, "frame of the Capture, counted from 0; EVERY_FRAME for all"},
  {"value", "i", 1, "value in the control's unit"},
}

local MESSAGES = {
  [1] = {name = "Hello", abbr = "hello", doc = "opens a session under the nonce in the header", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"version_min", "B", 1, "oldest version that the host speaks, coded as in the header"},
    {"version_max", "B", 1, "newest version that the host speaks, coded as in the header"},
    {"lanes", "B", 1, "lanes that the host offers, 1 to MAX_LANES"},
    {"reserved", "B", 1, "0"},
    {"capabilities", "I", 1, "capabilities that the host offers", "Capability"},
    {"max_payload", "I", 1, "longest payload of a tile that the host accepts, B"},
  }},
  [2] = {name = "HelloReply", abbr = "hello_reply", doc = "states the version, lanes and capabilities of the session", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"version", "B", 1, "version of the session"},
    {"lanes", "B", 1, "lanes of the session"},
    {"reset_reason", "B", 1, "reason of the module's last start", "ResetReason"},
    {"reserved", "B", 1, "0"},
    {"capabilities", "I", 1, "capabilities that both sides have", "Capability"},
    {"max_payload", "I", 1, "longest payload that the module accepts, B"},
    {"manifest_bytes", "I", 1, "length of the manifest, B"},
    {"boot_count", "I", 1, "number of starts of the module so far"},
    {"uptime_us", "Q", 1, "clock of the module, us since its start"},
  }},
  [3] = {name = "GetManifest", abbr = "get_manifest", doc = "asks for a piece of the manifest", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"offset", "I", 1, "offset of the first byte that the host wants"},
  }},
  [4] = {name = "ManifestPiece", abbr = "manifest_piece", doc = "carries a piece of the manifest", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"offset", "I", 1, "offset of the piece in the manifest"},
    {"total", "I", 1, "length of the whole manifest, B"},
    {"piece", "tail", 1, "bytes of the manifest from that offset"},
  }},
  [5] = {name = "Configure", abbr = "configure", doc = "prepares a stream", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of the stream: 0 preview, 1 still, 2 ROI"},
    {"flags", "B", 1, "Configure flags: TEST_ONLY", "ConfigureFlag"},
    {"mode", "H", 1, "id of a mode of the manifest"},
    {"pixel_format", "I", 1, "code of the pixel format; 0 lets the module choose", "PixelFormat"},
    {"tile_bytes", "I", 1, "longest payload of a tile, B; 0 lets the module choose"},
    {"x", "H", 1, "first column of the crop in the mode"},
    {"y", "H", 1, "first row of the crop in the mode"},
    {"width", "H", 1, "columns of the crop; 0 = the whole mode"},
    {"height", "H", 1, "rows of the crop; 0 = the whole mode"},
  }},
  [6] = {name = "Configured", abbr = "configured", doc = "states the configuration of a stream", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of the stream, as in the request"},
    {"flags", "B", 1, "Configure flags: TEST_ONLY, ADJUSTED", "ConfigureFlag"},
    {"mode", "H", 1, "id of the mode"},
    {"pixel_format", "I", 1, "code of the pixel format", "PixelFormat"},
    {"width", "H", 1, "pixels in a row"},
    {"height", "H", 1, "rows"},
    {"stride", "I", 1, "bytes in a row"},
    {"frame_bytes", "I", 1, "bytes of a frame: stride times height"},
    {"tile_bytes", "I", 1, "longest payload of a tile, B"},
    {"x", "H", 1, "first column of the crop in the mode"},
    {"y", "H", 1, "first row of the crop in the mode"},
  }},
  [7] = {name = "Capture", abbr = "capture", doc = "starts a stream that ends after a number of frames", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of a configured stream"},
    {"reserved", "B", 1, "0"},
    {"count", "H", 1, "number of frames, 1 or more"},
    {"settings", "tail", 1, "settings list: entries of control u16, frame u16, value i32"},
  }},
  [8] = {name = "StartStream", abbr = "start_stream", doc = "starts a stream that ends with Stop", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of a configured stream"},
    {"reserved", "B", 1, "0"},
    {"reserved2", "H", 1, "0"},
    {"interval_us", "I", 1, "least time between two frame starts, us; 0 = no limit"},
    {"settings", "tail", 1, "settings list: entries of control u16, frame u16, value i32"},
  }},
  [9] = {name = "Stop", abbr = "stop", doc = "ends a stream", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of the stream"},
  }},
  [10] = {name = "Flush", abbr = "flush", doc = "ends every stream; the answer comes after the last packet of every frame", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
  }},
  [11] = {name = "Accepted", abbr = "accepted", doc = "answers Capture, StartStream, SetSettings, Stop, SetBudget and Test", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of the stream, as in the request; 0 of SetBudget and Test"},
    {"reserved", "B", 1, "0"},
    {"first_frame", "I", 1, "number of the next frame of any stream; of SetSettings, see section 5.2"},
  }},
  [12] = {name = "Flushed", abbr = "flushed", doc = "answers Flush: nothing of an earlier request follows", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"lanes", "B", 1, "lanes of the session"},
    {"reserved", "B", 1, "0"},
    {"last_request", "I", 1, "id of the newest request before the Flush"},
    {"last_sequence", "I", 4, "sequence of the last packet before this one, by lane; 2^32 - 1 = no packet"},
  }},
  [13] = {name = "Error", abbr = "error", doc = "refuses a request", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"code", "H", 1, "error code", "ErrorCode"},
    {"detail", "text", 1, "UTF-8 text for people"},
  }},
  [14] = {name = "Close", abbr = "close", doc = "ends the session; there is no answer", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"reason", "B", 1, "close reason", "CloseReason"},
  }},
  [15] = {name = "Heartbeat", abbr = "heartbeat", doc = "shows that the host is alive, and states its credit limits", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"limit", "Q", 3, "bytes of tiles that the module may send in this session, by stream"},
    {"time_us", "Q", 1, "clock of the host when this was sent, us"},
  }},
  [16] = {name = "HeartbeatReply", abbr = "heartbeat_reply", doc = "shows that the module is alive, and what it has sent", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"uptime_us", "Q", 1, "clock of the module when this is sent, us since its start"},
    {"sent", "Q", 3, "bytes of tiles sent in this session, by stream"},
    {"begun", "I", 3, "newest frame begun, plus 1, by stream; 0 = no frame"},
    {"host_us", "Q", 1, "`time_us` of the Heartbeat that this reply answers"},
    {"received_us", "Q", 1, "clock of the module when that Heartbeat was received, us"},
  }},
  [17] = {name = "Pending", abbr = "pending", doc = "says that the answer to a request will come later", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"lease_ms", "H", 1, "time until the host may repeat the request, ms"},
  }},
  [18] = {name = "Busy", abbr = "busy", doc = "says that the module will be silent", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"reason", "B", 1, "busy reason", "BusyReason"},
    {"reserved", "B", 1, "0"},
    {"lease_ms", "H", 1, "longest duration of the silence, ms"},
  }},
  [19] = {name = "Notice", abbr = "notice", doc = "warns the host of an event", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"reason", "B", 1, "notice reason", "NoticeReason"},
    {"reserved", "B", 1, "0"},
    {"within_ms", "H", 1, "longest time until the event, ms; 0 = unknown"},
  }},
  [30] = {name = "Event", abbr = "event", doc = "reports a change of the module's state", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"kind", "B", 1, "event kind", "EventKind"},
    {"reserved", "B", 1, "0"},
    {"value", "i", 1, "see event kind"},
    {"time_us", "Q", 1, "module's clock when the state was so"},
    {"counter", "I", 1, "cumulative since the module's start, low 32 bits"},
    {"counter_high", "I", 1, "its high 32 bits"},
  }},
  [20] = {name = "Resend", abbr = "resend", doc = "asks for parts of a frame again", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"flags", "B", 1, "Resend flags: START, END", "ResendFlag"},
    {"reserved", "B", 1, "0"},
    {"count", "H", 1, "number of rectangles that follow"},
    {"ranges", "tail", 1, "rectangles: x, y, width, height, u16 each, in pixels"},
  }},
  [21] = {name = "Resent", abbr = "resent", doc = "answers Resend, after the tiles that it sends again", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"flags", "B", 1, "Resend flags: packets that are sent again", "ResendFlag"},
    {"state", "B", 1, "state of the frame", "FrameState"},
    {"count", "H", 1, "number of rectangles that follow"},
    {"gone", "tail", 1, "rectangles that are no longer held, laid out as in Resend"},
  }},
  [24] = {name = "Query", abbr = "query", doc = "asks for the outcome of a request of this session or of an earlier one", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"session", "I", 1, "nonce of the session of the request"},
    {"request", "I", 1, "id of the request"},
  }},
  [25] = {name = "QueryReply", abbr = "query_reply", doc = "states the outcome of a request", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"outcome", "B", 1, "outcome of the request", "Outcome"},
  }},
  [26] = {name = "Test", abbr = "test", doc = "makes the module take a test action", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"action", "B", 1, "test action", "TestAction"},
    {"damage", "B", 1, "CRC that is made wrong, for REJECT; else 0", "Damage"},
    {"ms", "H", 1, "duration, ms, at most MAX_BUSY_MS; 0 for REJECT"},
  }},
  [27] = {name = "Challenge", abbr = "challenge", doc = "asks the module to prove that it is genuine", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"scheme", "H", 1, "authentication scheme", "AuthScheme"},
    {"challenge", "tail", 1, "challenge, as the scheme defines it"},
  }},
  [28] = {name = "Proof", abbr = "proof", doc = "answers Challenge", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"scheme", "H", 1, "authentication scheme, as in the challenge", "AuthScheme"},
    {"proof", "tail", 1, "proof, as the scheme defines it"},
  }},
  [29] = {name = "SetSettings", abbr = "set_settings", doc = "changes the settings of a configured or running stream", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"stream", "B", 1, "number of a configured stream, or of one that StartStream began"},
    {"reserved", "B", 1, "0"},
    {"settings", "tail", 1, "settings list: entries of control u16, frame u16, value i32"},
  }},
  [31] = {name = "SetBudget", abbr = "set_budget", doc = "grants the power that the module may draw", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"reserved", "H", 1, "0"},
    {"budget_mw", "I", 1, "most power that the module may draw in this session, mW"},
  }},
  [32] = {name = "GetCalibration", abbr = "get_calibration", doc = "asks for a piece of a calibration", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"kind", "H", 1, "kind of the calibration", "CalibrationKind"},
    {"offset", "I", 1, "offset of the first byte that the host wants"},
  }},
  [33] = {name = "CalibrationPiece", abbr = "calibration_piece", doc = "carries a piece of a calibration", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"kind", "H", 1, "kind of the calibration, as in the request", "CalibrationKind"},
    {"offset", "I", 1, "offset of the piece in the calibration"},
    {"total", "I", 1, "length of the whole calibration, B"},
    {"piece", "tail", 1, "bytes of the calibration from that offset"},
  }},
  [64] = {name = "FrameStart", abbr = "frame_start", doc = "begins a frame: its geometry and the settings that were applied", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"mode", "H", 1, "id of a mode of the manifest"},
    {"request", "I", 1, "id of the Capture or StartStream request"},
    {"timestamp_us", "Q", 1, "clock of the module at the start of readout, us"},
    {"width", "H", 1, "pixels in a row"},
    {"height", "H", 1, "rows"},
    {"cfa", "B", 1, "colour filter array phase", "Cfa"},
    {"orientation", "B", 1, "EXIF orientation, 1 to 8"},
    {"bits", "B", 1, "bits of a pixel's value, 8 to 16"},
    {"reserved", "B", 1, "0"},
    {"pixel_format", "I", 1, "code of the pixel format", "PixelFormat"},
    {"stride", "I", 1, "bytes in a row"},
    {"white", "I", 1, "white level, DN"},
    {"flags", "H", 1, "frame flags: ADJUSTED, MOVING", "FrameFlag"},
    {"reserved2", "H", 1, "0"},
    {"black_milli", "I", 4, "black levels of the first 2 x 2 pixels, 1/1000 DN"},
    {"exposure_us", "I", 1, "exposure time applied, us"},
    {"gain_milli", "I", 1, "gain applied, 1/1000"},
    {"focus_mdpt", "i", 1, "lens position at mid-exposure, milli-dioptres"},
    {"aperture_milli", "I", 1, "f-number applied, 1/1000; 0 = the module has no iris"},
    {"interval_us", "I", 1, "time since the readout of the last frame of the stream started, us; 0 = first frame of the request"},
    {"row_time_ns", "I", 1, "time from row to row of the readout, ns; 0 = unknown"},
    {"noise_slope", "I", 1, "S of DNG's NoiseProfile, 1e-9; 0 = unknown"},
    {"noise_offset", "I", 1, "O of DNG's NoiseProfile, 1e-9"},
    {"focus_ring", "i", 1, "position of the focus ring, ticks since the start; wraps"},
    {"temperature_mc", "i", 1, "sensor temperature, 1/1000 degree C"},
    {"crop_x", "H", 1, "first column of the frame in the mode"},
    {"crop_y", "H", 1, "first row of the frame in the mode"},
  }},
  [66] = {name = "FrameEnd", abbr = "frame_end", doc = "ends a frame", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"status", "B", 1, "end status", "EndStatus"},
    {"lanes", "B", 1, "lanes of the session"},
    {"tiles", "I", 1, "number of tiles sent, without those sent again"},
    {"readout_us", "I", 1, "time from the start of readout to the last row, us"},
    {"last_sequence", "I", 4, "sequence of the last packet before this one, by lane; 2^32 - 1 = no packet"},
    {"energy_uj", "I", 1, "energy of the frame, uJ; 0 = unknown"},
  }},
  [96] = {name = "Log", abbr = "log", doc = "carries a line of the module's log", fields = {
    {"size", "H", 1, "bytes of the fixed part, this field included"},
    {"level", "B", 1, "log level", "LogLevel"},
    {"reserved", "B", 1, "0"},
    {"timestamp_us", "Q", 1, "clock of the module, us since its start"},
    {"text", "text", 1, "UTF-8 text of the line"},
  }},
}

local ENTRIES = {
  [1] = {name = "maker", abbr = "maker", doc = "maker of the module", fields = {
    {"maker", "text", 1, "maker of the module"},
  }},
  [2] = {name = "model", abbr = "model", doc = "model name", fields = {
    {"model", "text", 1, "model name"},
  }},
  [3] = {name = "serial", abbr = "serial", doc = "serial number, unique for a maker and model", fields = {
    {"serial", "text", 1, "serial number, unique for a maker and model"},
  }},
  [4] = {name = "firmware", abbr = "firmware", doc = "version and build of the firmware", fields = {
    {"firmware", "text", 1, "version and build of the firmware"},
  }},
  [5] = {name = "board", abbr = "board", doc = "board that the firmware runs on", fields = {
    {"board", "text", 1, "board that the firmware runs on"},
  }},
  [16] = {name = "SensorEntry", abbr = "sensor_entry", doc = "properties of the sensor", fields = {
    {"width", "H", 1, "columns of the sensor"},
    {"height", "H", 1, "rows of the sensor"},
    {"bits", "B", 1, "bits of a pixel's value, 8 to 16"},
    {"cfa", "B", 1, "colour filter array phase", "Cfa"},
    {"orientation", "B", 1, "EXIF orientation, 1 to 8"},
    {"reserved", "B", 1, "0"},
    {"white", "I", 1, "white level, DN"},
    {"black_milli", "I", 4, "black levels of the first 2 x 2 pixels, 1/1000 DN"},
  }},
  [17] = {name = "ColorEntry", abbr = "color_entry", doc = "colours of the sensor under an illuminant, as DNG states them", fields = {
    {"illuminant", "H", 1, "EXIF LightSource of the matrix"},
    {"reserved", "H", 1, "0"},
    {"matrix", "i", 18, "ColorMatrix: 9 x numerator, denominator; row by row"},
    {"neutral", "I", 6, "AsShotNeutral: 3 x numerator, denominator"},
  }},
  [18] = {name = "ModeEntry", abbr = "mode_entry", doc = "a readout mode; one entry for each mode", fields = {
    {"id", "H", 1, "id that Configure names"},
    {"width", "H", 1, "pixels in a row"},
    {"height", "H", 1, "rows"},
    {"binning", "B", 1, "1, or 2 if 2 x 2 pixels of one colour are combined"},
    {"use", "B", 1, "bits of the mode's uses", "ModeUse"},
    {"active_area", "H", 4, "top, left, bottom (exclusive), right (exclusive)"},
    {"name", "s", 16, "name in ASCII, padded with zero bytes"},
    {"active_mw", "I", 1, "most power during a frame, without motor, mW; 0 = unknown"},
  }},
  [19] = {name = "FormatEntry", abbr = "format_entry", doc = "a pixel format that Configure may name; the module's own choice comes first", fields = {
    {"pixel_format", "I", 1, "code of the pixel format", "PixelFormat"},
  }},
  [32] = {name = "OpticsEntry", abbr = "optics_entry", doc = "properties of the lens", fields = {
    {"focal_um", "I", 1, "focal length, um"},
    {"focal_35mm_um", "I", 1, "focal length as the equivalent of 35 mm film, um"},
    {"aperture_milli", "I", 1, "widest f-number, 1/1000"},
    {"focus_max_mdpt", "I", 1, "closest focus, milli-dioptres"},
  }},
  [36] = {name = "ControlEntry", abbr = "control_entry", doc = "a control that the module has; one entry for each control", fields = {
    {"control", "H", 1, "id of the control", "ControlId"},
    {"flags", "H", 1, "control flags: PER_FRAME", "ControlFlag"},
    {"minimum", "i", 1, "least value"},
    {"maximum", "i", 1, "largest value"},
    {"step", "i", 1, "distance of two values that differ, 1 or more"},
    {"initial", "i", 1, "value of a stream until the host sets another"},
  }},
  [33] = {name = "PowerEntry", abbr = "power_entry", doc = "power that the module draws besides that of its modes", fields = {
    {"idle_mw", "I", 1, "most power while no frame is exposed or read out, mW"},
    {"motor_mw", "I", 1, "most power of lens and iris, besides, while they move, mW"},
  }},
  [34] = {name = "ScaleEntry", abbr = "scale_entry", doc = "scale of a stand-in against the product", fields = {
    {"pixels_milli", "I", 1, "pixels of the largest frame, relative to the product, 1/1000"},
    {"rate_milli", "I", 1, "link rate relative to the product, 1/1000; 0 = unknown"},
  }},
  [35] = {name = "AuthEntry", abbr = "auth_entry", doc = "an authentication scheme of the module; one entry for each scheme", fields = {
    {"scheme", "H", 1, "number of the scheme", "AuthScheme"},
  }},
  [38] = {name = "DelayEntry", abbr = "delay_entry", doc = "delays of the module", fields = {
    {"settings_delay", "H", 1, "most frames whose readout begins after SetSettings was done, without its settings"},
  }},
  [37] = {name = "FocusEntry", abbr = "focus_entry", doc = "a point of the focus motor's calibration; one entry for each point", fields = {
    {"steps", "I", 1, "position of the motor, steps from infinity"},
    {"focus_mdpt", "i", 1, "distance that the lens is focused on, milli-dioptres"},
  }},
  [39] = {name = "CalibrationEntry", abbr = "calibration_entry", doc = "a calibration that GetCalibration reads; one entry for each", fields = {
    {"kind", "H", 1, "kind of the calibration", "CalibrationKind"},
    {"total", "I", 1, "length of the calibration, B"},
    {"crc32", "I", 1, "CRC-32/ISO-HDLC of the calibration"},
  }},
}

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
