/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oracle - decode and encode with code from rpcgen. */
#include "oracle.h"

#include <rpc/rpc.h>
#include <stdlib.h>
#include <string.h>

struct oracle_type {
    xdrproc_t codec;
    size_t size;
};

#include "tables.h"

struct oracle_module {
    const char *name;
    const struct oracle_type *types;
    unsigned count;
};

static const struct oracle_module modules[] = {
#define ORACLE_MODULE(name) {#name, name##_types, sizeof name##_types / sizeof name##_types[0]},
    ORACLE_MODULES
#undef ORACLE_MODULE
};

enum oracle_answer oracle_recode(const char *module, unsigned type, const void *in, unsigned in_size, unsigned *used,
                                 void *out, unsigned out_size, unsigned *written) {
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; ++i) {
        const struct oracle_type *entry = modules[i].types + type;
        if (strcmp(modules[i].name, module) != 0)
            continue;
        if (type >= modules[i].count || entry->codec == NULL)
            return ORACLE_NO_TYPE;
        void *value = calloc(1, entry->size);
        XDR xdr;
        xdrmem_create(&xdr, (char *)in, in_size, XDR_DECODE);
        enum oracle_answer answer = entry->codec(&xdr, value) ? ORACLE_GOOD : ORACLE_REFUSED;
        *used = xdr_getpos(&xdr);
        xdr_destroy(&xdr);
        if (answer == ORACLE_GOOD) {
            xdrmem_create(&xdr, out, out_size, XDR_ENCODE);
            answer = entry->codec(&xdr, value) ? ORACLE_GOOD : ORACLE_BROKEN;
            *written = xdr_getpos(&xdr);
            xdr_destroy(&xdr);
        }
        xdr_free(entry->codec, value);
        free(value);
        return answer;
    }
    return ORACLE_NO_TYPE;
}
