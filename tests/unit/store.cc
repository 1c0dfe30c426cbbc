// SPDX-License-Identifier: LGPL-2.1-or-later
// store - images, descriptions, names and places of the store.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "workerd/store/batch.h"
#include "workerd/store/making.h"
#include "workerd/store/places.h"
#include "workerd/store/qcow2.h"
#include "workerd/store/xml.h"

using namespace virtgate;
using namespace virtgate::workerd::store;

namespace {

struct Ground {
    Ground() {
        char name[] = "/tmp/vgt-store-XXXXXX";
        cr_assert_not_null(mkdtemp(name));
        path = name;
        places = std::make_unique<Places>(std::vector<std::string>{path + "/pools/"});
        directory = *places->open(path + "/pools/a", true, 0700);
    }
    ~Ground() { static_cast<void>(!system(("rm -rf " + path).c_str())); }
    [[nodiscard]] int fd() const { return directory->get(); }
    std::string path;
    std::unique_ptr<Places> places;
    Directory directory;
    std::atomic<bool> ends = false;
    Closing closing{ends};
};

}  // namespace

Test(store_qcow2, empty_image_has_its_clusters_counted) {
    for (const std::uint64_t capacity : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 30,
                                         std::uint64_t{1} << 45, qcow2::k_capacity_max}) {
        const auto image = qcow2::make_empty(capacity);
        const auto header = qcow2::read_header(image.front);
        cr_assert(header && header->capacity == (capacity + 511) / 512 * 512 && !header->has_backing_file);
        const std::uint64_t clusters = image.size / 65536;
        const std::byte* references = image.front.data() + 2 * 65536;
        for (std::uint64_t i = 0; i < clusters; ++i)
            cr_assert(references[2 * i] == std::byte{0} && references[2 * i + 1] == std::byte{1});
        cr_assert_eq(image.front.size(), 2 * 65536 + 2 * clusters);
    }
}

Test(store_qcow2, other_bytes_are_no_image) {
    auto image = qcow2::make_empty(1 << 20).front;
    cr_assert(!qcow2::read_header(ByteView(image).first(71)));
    image[7] = std::byte{9};
    cr_assert(!qcow2::read_header(image), "an unknown version");
    cr_assert(!qcow2::read_header(ByteVector(512)));
}

Test(store_xml, sizes_have_units) {
    const auto read = [](std::string_view capacity) {
        return read_volume(fmt::format("<volume><name>a</name>{}</volume>", capacity), false);
    };
    cr_assert_eq(read("<capacity>5</capacity>")->capacity, 5U);
    cr_assert_eq(read("<capacity unit='KiB'>5</capacity>")->capacity, 5120U);
    cr_assert_eq(read("<capacity unit='k'> 5\n</capacity>")->capacity, 5120U);
    cr_assert_eq(read("<capacity unit='MB'>5</capacity>")->capacity, 5'000'000U);
    cr_assert_eq(read("<capacity unit='E'>7</capacity>")->capacity, 7ULL << 60);
    for (const char* bad : {"", "<capacity/>", "<capacity unit='E'>8</capacity>", "<capacity>-1</capacity>",
                            "<capacity unit='x'>1</capacity>", "<capacity>18446744073709551616</capacity>"})
        cr_assert(!read(bad), "%s", bad);
}

Test(store_xml, what_is_not_offered_is_refused) {
    const std::string_view volumes[] = {
        "<volume type='block'><name>a</name><capacity>1</capacity></volume>",
        "<volume><name>a</name><capacity>1</capacity><target><format type='vmdk'/></target></volume>",
        "<volume><name>a</name><capacity>1</capacity><target><encryption/></target></volume>",
        "<volume><name>a</name><capacity>1</capacity><backingStore><path>/etc/shadow</path></backingStore></"
        "volume>",
        "<volume><name>a.virtgate-partial</name><capacity>1</capacity></volume>",
        "<volume><name>../a</name><capacity>1</capacity></volume>",
        "<volume><name>.virtgate-new-1</name><capacity>1</capacity></volume>",
        "<volume><name>a\nb</name><capacity>1</capacity></volume>",
        "<pool><name>a</name></pool>",
        "<!DOCTYPE volume><volume><name>a</name><capacity>1</capacity></volume>"};
    for (const auto xml : volumes) cr_assert(!read_volume(xml, false), "%s", std::string(xml).c_str());
    const std::string_view pools[] = {
        "<pool type='logical'><name>a</name><target><path>/x</path></target></pool>",
        "<pool type='dir'><name>a</name></pool>",
        "<pool type='dir'><name>a/b</name><target><path>/x</path></target></pool>",
        "<pool type='dir'><name>a</name><uuid>1</uuid><target><path>/x</path></target></pool>",
        "<pool type='dir'><name>a</name><source><host "
        "name='h'/></source><target><path>/x</path></target></pool>"};
    for (const auto xml : pools) cr_assert(!read_pool(xml), "%s", std::string(xml).c_str());
}

Test(store_xml, what_was_written_can_be_read) {
    Volume volume;
    volume.name = "a & 'b' <c>";
    volume.capacity = 12345;
    const auto again = read_volume(write_volume(volume, "/pools/\"x\""), false);
    cr_assert(again && again->name == volume.name && again->capacity == 12345);
    Uuid uuid{std::byte{1}};
    const auto pool =
        read_pool(write_pool({.name = "p & q", .path = "/pools/x", .uuid = uuid, .mode = 0750}));
    cr_assert(pool && pool->name == "p & q" && pool->uuid == uuid && pool->mode == 0750);
}

Test(store_places, only_beneath_what_is_configured) {
    Ground ground;
    cr_assert_eq(*ground.places->check(ground.path + "/pools//a/"), ground.path + "/pools/a");
    for (const std::string& bad : {std::string("/etc"), ground.path + "/poolsx", ground.path + "/pools/../x",
                                   ground.path + "/pools/./a", std::string("pools"), std::string()})
        cr_assert(!ground.places->check(bad), "%s", bad.c_str());
    cr_assert_eq(symlink("/etc", (ground.path + "/pools/etc").c_str()), 0);
    cr_assert(!ground.places->open(ground.path + "/pools/etc"));
    cr_assert(!ground.places->remove(ground.path + "/pools"), "a configured directory stays");
    cr_assert(ground.places->remove(ground.path + "/pools/a").has_value());
}

Test(store_places, only_regular_files) {
    Ground ground;
    cr_assert_eq(symlinkat("/etc/passwd", ground.fd(), "link"), 0);
    cr_assert_eq(mkfifoat(ground.fd(), "fifo", 0600), 0);
    cr_assert_eq(mkdirat(ground.fd(), "directory", 0700), 0);
    for (const char* name : {"link", "fifo", "directory", "../../x", "none"}) {
        cr_assert(!open_file(ground.fd(), name, O_RDONLY), "%s", name);
        cr_assert(!look_at(ground.fd(), name), "%s", name);
    }
    cr_assert(look_around(ground.fd(), true)->empty());
}

Test(store_making, volumes_are_whole_or_not_there) {
    Ground ground;
    const auto made =
        make_volume(ground.fd(), {.name = "a", .capacity = 1 << 20, .allocation = 0}, ground.closing);
    cr_assert(made && made->capacity == 1 << 20 && made->allocation == 0);
    const auto twice = make_volume(ground.fd(), {.name = "a", .capacity = 1}, ground.closing);
    cr_assert(!twice && twice.error().code == 90);
    const auto huge = make_volume(ground.fd(), {.name = "b", .capacity = 1ULL << 60}, ground.closing);
    cr_assert(!huge && huge.error().int1 == ENOSPC);
    const auto copy = copy_volume(ground.fd(), {.name = "c"}, ground.fd(), "a", ground.closing);
    cr_assert(copy && copy->capacity == 1 << 20 && copy->allocation == 0);
    const auto image = make_volume(
        ground.fd(), {.name = "d", .format = Format::qcow2, .capacity = 1ULL << 40}, ground.closing);
    cr_assert(image && image->format == Format::qcow2 && image->capacity == 1ULL << 40);
    cr_assert(!resize_volume(ground.fd(), "d", 1, false, ground.closing));
    cr_assert_eq(resize_volume(ground.fd(), "a", 5000, false, ground.closing)->capacity, 5000U);
    cr_assert(wipe_volume(ground.fd(), "a", ground.closing).has_value());
    const UniqueFd left = open_file(ground.fd(), make_unfinished_name(), O_RDWR | O_CREAT, 0600);
    cr_assert_eq(look_around(ground.fd(), true)->size(), 3U);
    cr_assert_eq(look_around(ground.fd(), true)->count("a"), 1U);
}

Test(store_batch, what_was_collected_is_written_where_it_belongs) {
    const Ground ground;
    const UniqueFd file{openat(ground.fd(), "v", O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    cr_assert(write_all(file.get(), ByteVector(40000, std::byte{9}), 0));
    Batch batch;
    cr_assert(batch.is_empty() && !batch.is_worth_it());
    const ByteVector first(1000, std::byte{1}), second(500, std::byte{2});
    batch.add(10, first);
    batch.add(1010, second);
    batch.add_hole(1510, 20000);
    batch.add_hole(21510, 50000);  // beyond the end
    const MutableBytes room = batch.room();
    std::fill_n(room.begin(), 300, std::byte{3});
    batch.add(71510, room.first(300));
    batch.add_hole(71810, 7);
    cr_assert(!batch.is_worth_it() && batch.begin() == 10 && batch.end() == 71817);
    cr_assert(batch.write(file.get(), ground.closing));
    ByteVector wanted(71817);
    std::fill_n(wanted.begin(), 10, std::byte{9});
    std::fill_n(wanted.begin() + 10, 1000, std::byte{1});
    std::fill_n(wanted.begin() + 1010, 500, std::byte{2});
    std::fill_n(wanted.begin() + 71510, 300, std::byte{3});
    ByteVector got(wanted.size() + 1);
    cr_assert_eq(pread(file.get(), got.data(), got.size(), 0), static_cast<ssize_t>(wanted.size()));
    got.pop_back();
    cr_assert(got == wanted);
    batch.clear();
    cr_assert(batch.is_empty());
}

Test(store_batch, is_bounded_in_bytes_and_in_changes) {
    Batch bytes;
    const ByteVector piece(server::Client::k_piece);
    std::size_t size = 0;
    for (; !bytes.is_full(); size += piece.size()) {
        cr_assert_geq(bytes.room().size(), piece.size());
        bytes.add(size, piece);
        cr_assert_eq(bytes.is_worth_it(), size + piece.size() >= Batch::k_worth);
    }
    cr_assert_eq(size, Batch::k_full);
    Batch holes;
    for (std::uint64_t at = 0; !holes.is_full(); at += 2) {
        cr_assert_lt(at, 2 * Batch::k_runs_max);
        holes.add_hole(at, 1);
        holes.add(at + 1, ByteView(piece).first(1));
    }
    cr_assert(holes.is_worth_it());
}
