// SPDX-License-Identifier: LGPL-2.1-or-later
// pool_desk - calls about pools.
//
// Trust:  arguments are clients'; a description may name no directory but one beneath those that are configured (places.h).
#pragma once

#include "libshared/server/program.h"
#include "proto/remote.h"
#include "workerd/store/house.h"
#include "workerd/store/xml.h"

namespace virtgate::workerd::store {

namespace remote = proto::remote;

class PoolDesk {
public:
    PoolDesk(server::Program& program, House& house);

private:
    using Client = server::Client;
    using Call = server::Call;
    // Looking
    void count_active(Client& client, Call call) noexcept;
    void count_defined(Client& client, Call call) noexcept;
    void list_active(Client& client, const remote::ConnectListStoragePoolsArgs& args, Call call) noexcept;
    void list_defined(Client& client, const remote::ConnectListDefinedStoragePoolsArgs& args,
                      Call call) noexcept;
    void list_all(Client& client, const remote::ConnectListAllStoragePoolsArgs& args, Call call) noexcept;
    void find_by_name(Client& client, const remote::StoragePoolLookupByNameArgs& args, Call call) noexcept;
    void find_by_uuid(Client& client, const remote::StoragePoolLookupByUuidArgs& args, Call call) noexcept;
    void find_by_volume(Client& client, const remote::StoragePoolLookupByVolumeArgs& args,
                        Call call) noexcept;
    void find_by_path(Client& client, const remote::StoragePoolLookupByTargetPathArgs& args,
                      Call call) noexcept;
    void get_info(Client& client, const remote::StoragePoolGetInfoArgs& args, Call call) noexcept;
    void get_xml(Client& client, const remote::StoragePoolGetXmlDescArgs& args, Call call) noexcept;
    void get_autostart(Client& client, const remote::StoragePoolGetAutostartArgs& args, Call call) noexcept;
    void is_active(Client& client, const remote::StoragePoolIsActiveArgs& args, Call call) noexcept;
    void is_persistent(Client& client, const remote::StoragePoolIsPersistentArgs& args, Call call) noexcept;
    // Changing
    void define(Client& client, const remote::StoragePoolDefineXmlArgs& args, Call call) noexcept;
    void create_xml(Client& client, const remote::StoragePoolCreateXmlArgs& args, Call call) noexcept;
    void create(Client& client, const remote::StoragePoolCreateArgs& args, Call call) noexcept;
    void build(Client& client, const remote::StoragePoolBuildArgs& args, Call call) noexcept;
    void destroy(Client& client, const remote::StoragePoolDestroyArgs& args, Call call) noexcept;
    void remove(Client& client, const remote::StoragePoolDeleteArgs& args, Call call) noexcept;
    void undefine(Client& client, const remote::StoragePoolUndefineArgs& args, Call call) noexcept;
    void refresh(Client& client, const remote::StoragePoolRefreshArgs& args, Call call) noexcept;
    void set_autostart(Client& client, const remote::StoragePoolSetAutostartArgs& args, Call call) noexcept;

    // The pool that a description makes or changes, checked against those that are there; not in the house yet.
    [[nodiscard]] Answer<PoolPtr> draft(const std::string& xml) const;
    // Of a call that changes the pool: nothing else is under way.
    [[nodiscard]] Answer<PoolPtr> find_idle(const remote::StoragePool& pool) const;
    [[nodiscard]] Answer<PoolPtr> find_inactive(const remote::StoragePool& pool) const;
    void start(PoolPtr pool, bool builds, Call call, bool is_new) noexcept;

    House& house_;
};

}  // namespace virtgate::workerd::store
