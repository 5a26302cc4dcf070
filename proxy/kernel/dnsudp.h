/* What proxy/kernel/dnsudp.pyx needs of the system beyond datagrams.h. */
#ifndef HIVEMESH_DNSUDP_H
#define HIVEMESH_DNSUDP_H

#include "datagrams.h"
#include <stdint.h>

/* Turn what a received message says of its way into what a message back has to say: the same peer, from the address
   that it asked. The name is used where it is. */
static inline void hm_turn_back(struct msghdr *m) {
    struct cmsghdr *c;
    if (!m->msg_control || !m->msg_controllen) { m->msg_control = 0; m->msg_controllen = 0; return; }
    c = CMSG_FIRSTHDR(m);
    if (c && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        /* Of a broadcast this is the address of the interface. The way back is for routing to find. */
        ((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
        m->msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
        return;
    }
    if (c && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo *to = (struct in6_pktinfo *)CMSG_DATA(c);
        if (!IN6_IS_ADDR_MULTICAST(&to->ipi6_addr)) {
            if (!IN6_IS_ADDR_LINKLOCAL(&to->ipi6_addr)) to->ipi6_ifindex = 0;
            m->msg_controllen = CMSG_SPACE(sizeof(struct in6_pktinfo));
            return;
        }
    }
    m->msg_control = 0; m->msg_controllen = 0;
}

/* As much room for questions as the system gives, and answers that fragment rather than trust what somebody says of
   the path: a forged "too big" must not decide how answers are cut (RFC 9715 section 3.1). */
static inline void hm_dns_socket(int fd, int family) {
    int room = 4 << 20, omit = 5; /* IP_PMTUDISC_OMIT */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &omit, sizeof omit);
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &omit, sizeof omit);
}

/* The network of an address as one number: /24 of IPv4, /56 of IPv6 (what BIND and Knot take). Never 0. */
static inline uint64_t hm_network(unsigned char family, const unsigned char *addr) {
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
    uint64_t network = 0;
    int i, bytes = 7;
    if (family == AF_INET6 && !memcmp(addr, mapped, 12)) { family = AF_INET; addr += 12; }
    if (family == AF_INET) bytes = 3;
    for (i = 0; i < bytes; i++) network = network << 8 | addr[i];
    return network | (uint64_t)(family == AF_INET ? 1 : 2) << 56;
}

static inline uint64_t hm_network_of(const union hm_name *a) {
    return a->sa.sa_family == AF_INET ? hm_network(AF_INET, (const unsigned char *)&a->v4.sin_addr)
                                      : hm_network(AF_INET6, (const unsigned char *)&a->v6.sin6_addr);
}

#endif
