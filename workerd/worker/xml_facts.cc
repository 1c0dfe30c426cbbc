// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_facts - what is in the XML of a client's call, for rules about XML.
#include "workerd/worker/xml_facts.h"

#include <optional>

#include "libshared/xdr/reader.h"
#include "policy/xml_calls.h"
#include "proto/remote.h"
#include "workerd/worker/claims.h"
#include "workerd/worker/xml_host.h"

namespace virtgate::workerd::worker {

using namespace xml;

namespace {

using policy::XmlArgument;
using policy::XmlFacts;
using proto::ProcedureInfo;
using proto::ProgramInfo;
namespace remote = proto::remote;

constexpr std::string_view k_params = "params";

class CallReader {
public:
    CallReader(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args) noexcept
        : program_(program), procedure_(procedure), args_(args) {}

    XmlFacts read() {
        for (const XmlArgument& argument : policy::xml_arguments(program_, procedure_)) {
            if (!read(argument) && argument.is_needed) flaw("nobody can see what the call describes");
            // What is wrong is known; the rest would only cost time.
            if (!facts_.flaw.empty()) break;
        }
        return std::move(facts_);
    }

private:
    // False if the argument is not there.
    bool read(const XmlArgument& argument) {
        switch (argument.form) {
            case XmlArgument::Form::text:
            case XmlArgument::Form::program: return read_text(argument);
            case XmlArgument::Form::parameter: return read_parameters(argument);
            case XmlArgument::Form::cookie: return read_cookie(argument);
            case XmlArgument::Form::hidden: flaw("nobody can see what the call describes"); return true;
        }
        return false;
    }

    bool read_text(const XmlArgument& argument) {
        const proto::Found found = find_argument(program_, procedure_, args_, argument.field);
        if (!found.present) return false;
        xdr::Reader reader(args_.subspan(found.offset));
        const std::string_view text = reader.string(remote::k_string_max);
        if (!reader.ok())
            flaw("it cannot be read");
        else if (argument.form == XmlArgument::Form::program)
            facts_.paths.push_back({std::string(text), true});
        else
            read_document(text, argument);
        return true;
    }

    // libvirt takes one of several that have the same name; here, all of them have to fit.
    bool read_parameters(const XmlArgument& argument) {
        const proto::Found found = find_argument(program_, procedure_, args_, k_params);
        if (!found.present) return false;
        xdr::Reader reader(args_.subspan(found.offset));
        bool any = false;
        // No list of parameters of these calls may be longer; a shorter bound has been checked.
        const std::uint32_t count = reader.count(remote::k_domain_migrate_param_list_max, 12);
        for (std::uint32_t i = 0; i < count; ++i) {
            remote::TypedParam param;
            param.decode(reader);
            if (!reader.ok()) break;
            if (param.field != argument.field) continue;
            any = true;
            if (param.value.value.index() == remote::TypedParamValue::text)
                read_document(std::get<remote::TypedParamValue::text>(param.value.value), argument);
            else
                flaw("a parameter with XML is no text");
        }
        if (!reader.ok()) flaw("it cannot be read");
        return any;
    }

    // libvirt reads a cookie up to its NUL.
    bool read_cookie(const XmlArgument& argument) {
        const proto::Found found = find_argument(program_, procedure_, args_, argument.field);
        if (!found.present) return false;
        xdr::Reader reader(args_.subspan(found.offset));
        std::string_view text = as_text(reader.opaque(remote::k_migrate_cookie_max));
        if (!reader.ok()) flaw("it cannot be read");
        if (text.ends_with('\0')) text.remove_suffix(1);
        if (!text.empty()) read_document(text, argument);
        return true;
    }

    void read_document(std::string_view text, const XmlArgument& argument) {
        if (text.size() > k_xml_max - size_) return flaw("it is too large");
        size_ += text.size();
        const auto document = XmlDocument::parse(text);
        if (!document) return flaw(document.error().text);
        Images images = Images::used;
        if (argument.reuses != 0)
            images = (read_flags(program_, procedure_, args_) & argument.reuses) != 0 ? Images::reused
                                                                                      : Images::made;
        add_host_facts(*document, images, facts_);
    }

    void flaw(std::string_view text) {
        if (facts_.flaw.empty()) facts_.flaw = text;
    }

    const ProgramInfo& program_;
    const ProcedureInfo& procedure_;
    const ByteView args_;
    std::size_t size_ = 0;  // of the documents so far
    XmlFacts facts_{};
};

}  // namespace

XmlFacts read_xml_facts(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView args) {
    return CallReader(program, procedure, args).read();
}

}  // namespace virtgate::workerd::worker
