// SPDX-License-Identifier: LGPL-2.1-or-later
// transfer_desk - calls that open the streams by which the content of volumes comes and goes.
#pragma once

#include "libshared/server/program.h"
#include "proto/remote.h"
#include "workerd/store/house.h"

namespace virtgate::workerd::store {

namespace remote = proto::remote;

class TransferDesk {
public:
    TransferDesk(server::Program& program, House& house);

private:
    void upload(server::Client& client, const remote::StorageVolUploadArgs& args, server::Call call) noexcept;
    void download(server::Client& client, const remote::StorageVolDownloadArgs& args,
                  server::Call call) noexcept;
    House& house_;
};

}  // namespace virtgate::workerd::store
