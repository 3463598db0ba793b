// The floor: the least that any reader of a capture must do. It maps a pcap file (host byte order,
// Ethernet), finds the TCP ports of every packet, looks its two ends up in a hash table and counts
// packets and bytes. It keeps no state of TCP, reassembles nothing and reports nothing.
//
//     cc -O2 -march=native floor.c -o floor && ./floor FILE.pcap
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct slot {
  uint64_t a[2], b[2];
  uint32_t ports, used;
  uint64_t packets, bytes;
};

static struct slot *table;
static uint64_t mask = 1023, count;

static uint64_t mix(uint64_t x) {
  __uint128_t m = (__uint128_t)x * 0x9e3779b97f4a7c15u;
  return (uint64_t)(m >> 64) ^ (uint64_t)m;
}

static uint64_t hash(const struct slot *s) {
  return mix(s->a[0] ^ mix(s->a[1] ^ mix(s->b[0] ^ mix(s->b[1] ^ s->ports))));
}

static void grow(void) {
  struct slot *old = table;
  uint64_t n = mask + 1;
  mask = n * 2 - 1;
  table = calloc(mask + 1, sizeof *table);
  for (uint64_t i = 0; i < n; i++) {
    if (!old[i].used) continue;
    uint64_t at = hash(&old[i]) & mask;
    while (table[at].used) at = (at + 1) & mask;
    table[at] = old[i];
  }
  free(old);
}

static void add(const struct slot *key, uint32_t length) {
  uint64_t at = hash(key) & mask;
  for (; table[at].used; at = (at + 1) & mask) {
    if (memcmp(table[at].a, key->a, 36) == 0) {
      table[at].packets++;
      table[at].bytes += length;
      return;
    }
  }
  table[at] = *key;
  table[at].used = 1;
  table[at].packets = 1;
  table[at].bytes = length;
  if (++count * 2 > mask) grow();
}

int main(int argc, char **argv) {
  int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) return perror("open"), 2;
  const uint8_t *p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) return perror("mmap"), 2;
  madvise((void *)p, st.st_size, MADV_SEQUENTIAL);
  table = calloc(mask + 1, sizeof *table);
  uint64_t packets = 0, tcp = 0;
  for (uint64_t at = 24; at + 16 <= (uint64_t)st.st_size;) {
    uint32_t captured, length;
    memcpy(&captured, p + at + 8, 4);
    memcpy(&length, p + at + 12, 4);
    const uint8_t *f = p + at + 16;
    at += 16 + captured;
    packets++;
    if (captured < 54) continue;
    struct slot key = {0};
    const uint8_t *ip = f + 14, *t;
    uint64_t low, high;
    if (f[12] == 8 && f[13] == 0 && ip[9] == 6) {
      uint32_t s, d;
      memcpy(&s, ip + 12, 4);
      memcpy(&d, ip + 16, 4);
      key.a[1] = s;
      key.b[1] = d;
      t = ip + (ip[0] & 15) * 4;
    } else if (f[12] == 0x86 && f[13] == 0xdd && ip[6] == 6 && captured >= 74) {
      memcpy(key.a, ip + 8, 16);
      memcpy(key.b, ip + 24, 16);
      t = ip + 40;
    } else {
      continue;
    }
    uint16_t sp, dp;
    memcpy(&sp, t, 2);
    memcpy(&dp, t + 2, 2);
    // The same for both directions.
    low = key.a[1] << 16 | sp;
    high = key.b[1] << 16 | dp;
    if (low > high) {
      uint64_t swap[2] = {key.a[0], key.a[1]};
      memcpy(key.a, key.b, 16);
      memcpy(key.b, swap, 16);
      key.ports = (uint32_t)dp << 16 | sp;
    } else {
      key.ports = (uint32_t)sp << 16 | dp;
    }
    tcp++;
    add(&key, length);
  }
  printf("%lu packets, %lu TCP, %lu pairs of ends\n", packets, tcp, count);
  return 0;
}
