// SPDX-License-Identifier: LGPL-2.1-or-later
// volume_desk - calls about volumes, apart from those that open streams (transfer_desk.h).
//
// Trust:  arguments are clients'. A volume is found by the names of its pool and its own; the key in a client's handle is not
//         believed, nor used.
#pragma once

#include "libshared/server/program.h"
#include "proto/remote.h"
#include "workerd/store/house.h"

namespace virtgate::workerd::store {

namespace remote = proto::remote;

class VolumeDesk {
public:
    VolumeDesk(server::Program& program, House& house);

private:
    using Client = server::Client;
    using Call = server::Call;
    // Looking
    void count(Client& client, const remote::StoragePoolNumOfVolumesArgs& args, Call call) noexcept;
    void list(Client& client, const remote::StoragePoolListVolumesArgs& args, Call call) noexcept;
    void list_all(Client& client, const remote::StoragePoolListAllVolumesArgs& args, Call call) noexcept;
    void find_by_name(Client& client, const remote::StorageVolLookupByNameArgs& args, Call call) noexcept;
    void find_by_key(Client& client, const remote::StorageVolLookupByKeyArgs& args, Call call) noexcept;
    void find_by_path(Client& client, const remote::StorageVolLookupByPathArgs& args, Call call) noexcept;
    void get_info(Client& client, const remote::StorageVolGetInfoArgs& args, Call call) noexcept;
    void get_info_flags(Client& client, const remote::StorageVolGetInfoFlagsArgs& args, Call call) noexcept;
    void get_xml(Client& client, const remote::StorageVolGetXmlDescArgs& args, Call call) noexcept;
    void get_path(Client& client, const remote::StorageVolGetPathArgs& args, Call call) noexcept;
    // Changing
    void create(Client& client, const remote::StorageVolCreateXmlArgs& args, Call call) noexcept;
    void create_from(Client& client, const remote::StorageVolCreateXmlFromArgs& args, Call call) noexcept;
    void remove(Client& client, const remote::StorageVolDeleteArgs& args, Call call) noexcept;
    void wipe(Client& client, const remote::StorageVolWipeArgs& args, Call call) noexcept;
    void wipe_pattern(Client& client, const remote::StorageVolWipePatternArgs& args, Call call) noexcept;
    void resize(Client& client, const remote::StorageVolResizeArgs& args, Call call) noexcept;

    [[nodiscard]] Answer<PoolPtr> find_active(const remote::StoragePool& pool) const;
    template <class Reply>
    void look(const remote::StorageVol& volume, Call call, Reply reply) noexcept;
    template <class Work, class Reply>
    void change(Writing writing, Lease lease, Call call, Work work, Reply reply) noexcept;
    void wipe_all(const Client& client, const remote::StorageVol& volume, Call call) noexcept;

    House& house_;
};

}  // namespace virtgate::workerd::store
