# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture - write frames as a capture file that tshark reads, one TCP connection without TLS."""

import struct

SERVER_PORT, CLIENT_PORT = 16509, 40000


def write_pcap(path, chunks):
    """chunks: (from_server, bytes) in order. Ends up as IPv4 and TCP of one connection, without checksums."""
    sequence = {True: 1000, False: 2000}
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))  # 101: raw IP
        stamp = 1_700_000_000_000_000
        for from_server, data in chunks:
            for at in range(0, len(data), 1400):
                piece = data[at : at + 1400]
                ports = (SERVER_PORT, CLIENT_PORT) if from_server else (CLIENT_PORT, SERVER_PORT)
                tcp = struct.pack(
                    ">HHIIBBHHH",
                    *ports,
                    sequence[from_server],
                    sequence[not from_server],
                    0x50,
                    0x18,
                    65535,
                    0,
                    0,
                )
                sequence[from_server] += len(piece)
                ends = (b"\x7f\0\0\x01", b"\x7f\0\0\x02")
                source, target = ends if from_server else reversed(ends)
                ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(piece), 0, 0x4000, 64, 6, 0) + source + target
                packet = ip + tcp + piece
                out.write(
                    struct.pack("<IIII", stamp // 1_000_000, stamp % 1_000_000, len(packet), len(packet))
                    + packet
                )
                stamp += 1000
