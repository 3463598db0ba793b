#!/usr/bin/env python3
"""A pcap on stdout of one connection that the backend closed by FIN, after one exchange."""
import struct
import sys

CLIENT, SERVER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
FIN, SYN, PSH, ACK = 1, 2, 8, 16
packets = [(True, 100, 0, SYN, b""), (False, 500, 101, SYN | ACK, b""), (True, 101, 501, ACK, b""),
           (True, 101, 501, PSH | ACK, b"GET / HTTP/1.1\r\n\r\n"), (False, 501, 119, ACK, b""),
           (False, 501, 119, PSH | ACK, b"HTTP/1.1 204 No Content\r\n\r\n"), (True, 119, 528, ACK, b""),
           (False, 528, 119, FIN | ACK, b""), (True, 119, 529, FIN | ACK, b""),
           (False, 529, 120, ACK, b"")]
out = sys.stdout.buffer
out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101))
for number, (from_client, sequence, ack, flags, data) in enumerate(packets):
    ports = (40000, 8080) if from_client else (8080, 40000)
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, ack, 5 << 4, flags, 1000, 0, 0) + data
    ends = CLIENT + SERVER if from_client else SERVER + CLIENT
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0) + ends + tcp
    out.write(struct.pack("<IIII", 1_700_000_000 + number, 0, len(packet), len(packet)) + packet)
