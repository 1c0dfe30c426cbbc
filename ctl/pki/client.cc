// SPDX-License-Identifier: LGPL-2.1-or-later
// client - what a client's certificate says, as the policy is told of it.
#include "ctl/pki/client.h"

#include "ctl/files.h"
#include "ctl/pki/certificate.h"
#include "libshared/x509/names.h"

namespace virtgate::ctl::pki {

Result<proto::who::X509Facts> read_client(const std::string& path) {
    const Result<std::string> pem = read_file(path);
    if (!pem) return tl::unexpected(pem.error());
    const Result<Certificate> certificate = import_certificate(*pem);
    if (!certificate) return wrap(certificate.error(), path);
    proto::who::X509Facts facts;
    if (const Done done = x509::read_names(certificate->get(), facts); !done) {
        if (done.error().fault != Fault::peer) return wrap(done.error(), path);
        return wrap(done.error(), path + ": doorman refuses this certificate");
    }
    return facts;
}

}  // namespace virtgate::ctl::pki
