//! Golden RELOAD messages, through our codec and through Wireshark's dissector.
