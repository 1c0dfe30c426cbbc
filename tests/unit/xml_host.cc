// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_host - what libvirt's documents say about the host: each element, and each trick.
#include "workerd/worker/xml_host.h"

#include <fmt/format.h>

#include "tests/unit/xml_rig.h"

using namespace virtgate;
using namespace virtgate::test;

namespace {

constexpr std::string_view k_shadow = "the XML names /etc/shadow";

// A disk whose image is of this format, with this in it.
std::string disk(std::string_view format, std::string_view more = "") {
    return fmt::format(
        "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source "
        "file='/srv/vm/a.img'/>{}<target dev='vda' bus='virtio'/></disk>",
        format, more);
}

std::string source(std::string_view type, std::string_view attributes) {
    return machine(
        fmt::format("<disk type='{}'><driver name='qemu' type='raw'/><source {}/><target dev='vda'/></disk>",
                    type, attributes));
}

}  // namespace

// ---- what has to pass ----------------------------------------

// As virt-install writes them.
constexpr std::string_view k_installed = R"(<domain type="kvm">
  <name>web-1</name>
  <uuid>bfde2165-0d5f-4aa9-ac39-b92b3f81dc14</uuid>
  <title>/not a path/</title>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/12"/>
    </libosinfo:libosinfo>
    <app:files xmlns:app="urn:app" log="/var/log/app"><hostdev/>/etc/app</app:files>
  </metadata>
  <memory unit="KiB">1048576</memory>
  <vcpu placement="static">2</vcpu>
  <resource>
    <partition>/machine</partition>
  </resource>
  <os>
    <type arch="x86_64" machine="pc-q35-7.2">hvm</type>
    <loader readonly="yes" type="pflash">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template="/usr/share/OVMF/OVMF_VARS_4M.fd">/var/lib/libvirt/qemu/nvram/web-1_VARS.fd</nvram>
    <boot dev="hd"/>
  </os>
  <features><acpi/><apic/><vmport state="off"/></features>
  <cpu mode="host-passthrough" check="none" migratable="on"/>
  <clock offset="utc"><timer name="rtc" tickpolicy="catchup"/></clock>
  <on_poweroff>destroy</on_poweroff>
  <pm><suspend-to-mem enabled="no"/></pm>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2" discard="unmap"/>
      <source file="/srv/vm/web-1.qcow2"/>
      <backingStore type="file">
        <format type="qcow2"/>
        <source file="/srv/vm/base.qcow2"/>
        <backingStore/>
      </backingStore>
      <target dev="vda" bus="virtio"/>
      <address type="pci" domain="0x0000" bus="0x04" slot="0x00" function="0x0"/>
    </disk>
    <disk type="file" device="cdrom">
      <driver name="qemu" type="raw"/>
      <source file="/srv/vm/debian.iso"/>
      <target dev="sda" bus="sata"/>
      <readonly/>
    </disk>
    <disk type="file" device="cdrom"><target dev="sdb" bus="sata"/><readonly/></disk>
    <controller type="usb" model="qemu-xhci" ports="15"/>
    <controller type="pci" model="pcie-root"/>
    <interface type="network">
      <source network="default"/>
      <mac address="52:54:00:db:bf:9f"/>
      <model type="virtio"/>
    </interface>
    <interface type="direct"><source dev="eth0" mode="bridge"/><target dev="macvtap0"/></interface>
    <interface type="bridge"><source bridge="br0"/></interface>
    <serial type="pty"><source path="/dev/pts/3"/><target port="0"/></serial>
    <console type="pty" tty="/dev/pts/3"><source path="/dev/pts/3"/><target type="serial" port="0"/></console>
    <channel type="unix"><source mode="bind"/><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <channel type="spicevmc"><target type="virtio" name="com.redhat.spice.0"/></channel>
    <input type="tablet" bus="usb"/>
    <tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>
    <graphics type="spice" port="-1" tlsPort="-1" autoport="yes" listen="127.0.0.1">
      <listen type="address" address="127.0.0.1"/><image compression="off"/><gl enable="no"/>
    </graphics>
    <graphics type="vnc" port="-1" autoport="yes"/>
    <sound model="ich9"/>
    <audio id="1" type="spice"/>
    <video><model type="virtio" heads="1" primary="yes"><acceleration accel3d="no"/></model></video>
    <redirdev bus="usb" type="spicevmc"/>
    <watchdog model="itco" action="reset"/>
    <memballoon model="virtio"/>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
    <vsock model="virtio"><cid auto="yes"/></vsock>
  </devices>
</domain>
)";

Test(xml_host, machines_that_are_usual_fit) {
    expect_fits(k_installed);
    expect_fits(machine(disk("raw")));
    expect_fits(machine("<disk><source file='/srv/vm/a'/><target dev='vda'/></disk>"));
    expect_fits(
        booting("<kernel>/srv/vm/vmlinuz</kernel><initrd>/srv/vm/initrd</initrd><cmdline>/sbin/init "
                "root=/dev/vda</cmdline>"));
    expect_fits(
        machine("<disk type='network'><driver type='raw'/><source protocol='nbd' name='/export'><host "
                "name='h'/></source></disk>"));
    // What is in the document is known all the same.
    const XmlFacts facts = facts_of(k_installed);
    cr_assert_eq(facts.paths.size(), 8);
    cr_assert(facts.power.empty() && facts.flaw.empty());
    cr_assert(!std::binary_search(facts.elements.begin(), facts.elements.end(), "hostdev"));
    cr_assert(std::binary_search(facts.elements.begin(), facts.elements.end(), "emulator"));
}

Test(xml_host, other_objects_that_are_usual_fit) {
    expect_fits(
        "<network><name>/n</name><forward mode='nat'/><bridge name='virbr1'/><ip address='192.0.2.1' "
        "netmask='255.255.255.0'><tftp root='/srv/vm/tftp'/><dhcp><range start='192.0.2.2' "
        "end='192.0.2.9'/><bootp file='/pxelinux.0'/></dhcp></ip></network>");
    expect_fits(
        "<pool type='dir'><name>p</name><target><path>/srv/vm/p</path><permissions><mode>0711</mode>"
        "</permissions></target></pool>");
    expect_fits(
        "<volume><name>v</name><capacity>1</capacity><target><format type='qcow2'/></target>"
        "<backingStore><path>/srv/vm/base</path><format type='qcow2'/></backingStore></volume>");
    expect_fits("<secret><usage type='volume'><volume>/srv/vm/a</volume></usage></secret>");
    expect_fits(
        "<domainsnapshot><name>s</name><disks><disk name='vda' snapshot='external'><driver type='qcow2'/>"
        "<source file='/srv/vm/s'/></disk></disks></domainsnapshot>",
        Images::made);
    expect_fits("<domaincheckpoint><disks><disk name='vda'/></disks></domaincheckpoint>");
    expect_fits(
        "<domainbackup><disks><disk name='vda' type='file'><driver type='qcow2'/><target "
        "file='/srv/vm/b'/></disk></disks></domainbackup>",
        Images::made);
    expect_fits("<disk type='file'><source file='/srv/vm/c'/><driver type='qcow2'/></disk>", Images::made);
    expect_fits("<filter name='f' chain='root'><rule action='drop' direction='in'/></filter>");
    expect_fits(
        "<qemu-migration><name>a</name><nbd port='1'><disk target='vda' capacity='1'/></nbd>"
        "</qemu-migration>");
}

// ---- paths ----------------------------------------

Test(xml_host, every_place_for_a_file_counts) {
    for (const std::string_view os :
         {"<kernel>@</kernel>", "<initrd>@</initrd>", "<dtb>@</dtb>", "<shim>@</shim>", "<loader>@</loader>",
          "<nvram>@</nvram>", "<nvram template='@'/>", "<nvram type='file'><source file='@'/></nvram>",
          "<acpi><table type='slic'>@</table></acpi>", "<varstore path='@'/>", "<varstore template='@'/>",
          "<somethingnew>@</somethingnew>", "<new><er when='now'>@</er></new>"}) {
        std::string xml = booting(os);
        xml.replace(xml.find('@'), 1, "/etc/shadow");
        expect_refused(xml, k_shadow);
    }
    for (const std::string_view device :
         {"<disk type='file'><source file='@'/></disk>",
          "<disk type='block'><source dev='@'/></disk>",
          "<disk type='vhostuser'><source type='unix' path='@'/></disk>",
          "<disk type='file'><source file='/srv/vm/a'/><mirror file='@'/></disk>",
          "<disk type='file'><source file='/srv/vm/a'/><backingStore type='file'><format type='raw'/><source "
          "file='@'/></backingStore></disk>",
          "<disk type='file'><source file='/srv/vm/a'/><dataStore type='file'><format type='raw'/><source "
          "file='@'/></dataStore></disk>",
          "<disk type='network'><source protocol='nbd'><host transport='unix' socket='@'/></source></disk>",
          "<disk type='network'><source protocol='rbd' name='p/i'><config file='@'/></source></disk>",
          "<disk type='network'><source protocol='ssh' name='x'><knownHosts path='@'/></source></disk>",
          "<disk type='network'><source protocol='ssh' name='x'><identity keyfile='@'/></source></disk>",
          "<disk type='file'><source file='/srv/vm/a'><reservations managed='no'><source type='unix' "
          "path='@'/></reservations></source></disk>",
          "<interface type='vdpa'><source dev='@'/></interface>",
          "<interface type='vhostuser'><source type='unix' path='@'/></interface>",
          "<interface type='network'><backend tap='@'/></interface>",
          "<interface type='network'><backend vhost='@'/></interface>",
          "<interface type='user'><backend type='passt' logFile='@'/></interface>",
          "<interface type='network'><rom file='@'/></interface>",
          "<serial type='dev'><source path='@'/></serial>",
          "<serial type='file'><source path='@'/></serial>",
          "<serial type='pipe'><source path='@'/></serial>",
          "<channel type='unix'><source mode='bind' path='@'/></channel>",
          "<console type='pty'><log file='@'/></console>",
          "<serial type='nmdm'><source master='@'/></serial>",
          "<graphics type='vnc' socket='@'/>",
          "<graphics type='vnc'><listen type='socket' socket='@'/></graphics>",
          "<graphics type='spice'><gl enable='yes' rendernode='@'/></graphics>",
          "<video><model type='virtio'><acceleration rendernode='@'/></model></video>",
          "<input type='evdev'><source dev='@'/></input>",
          "<input type='passthrough'><source evdev='@'/></input>",
          "<rng><backend model='random'>@</backend></rng>",
          "<tpm><backend type='passthrough'><device path='@'/></backend></tpm>",
          "<tpm><backend type='external'><source type='unix' path='@'/></backend></tpm>",
          "<memory model='nvdimm'><source><path>@</path></source></memory>",
          "<lease><lockspace>l</lockspace><key>k</key><target path='@'/></lease>",
          "<audio id='1' type='file' path='@'/>"}) {
        std::string xml = machine(device), relative = xml;
        xml.replace(xml.find('@'), 1, "/etc/shadow");
        expect_refused(xml, k_shadow);
        relative.replace(relative.find('@'), 1, "etc/shadow");
        expect_refused(relative, "does not lead straight");
    }
    expect_refused(
        "<domain><sysinfo type='fwcfg'><entry name='opt/a' file='/etc/shadow'/></sysinfo></domain>",
        k_shadow);
    expect_refused("<domain><blkiotune><device><path>/dev/sda</path></device></blkiotune></domain>",
                   "/dev/sda");
    expect_refused("<domainsnapshot><memory snapshot='external' file='/etc/shadow'/></domainsnapshot>",
                   k_shadow);
    expect_refused("<domainbackup><server transport='unix' socket='/etc/shadow'/></domainbackup>", k_shadow);
    expect_refused(
        "<domainbackup><disks><disk name='vda' type='block'><target dev='/dev/sda'/></disk></disks>"
        "</domainbackup>",
        "/dev/sda", Images::made);
    expect_refused(
        "<domainbackup><disks><disk name='vda' type='block'><target dev='sda'/></disk></disks>"
        "</domainbackup>",
        "sda, which does not", Images::made);
    expect_refused("<pool type='dir'><target><path>/etc</path></target></pool>", "the XML names /etc");
    expect_refused("<volume><name>v</name><backingStore><path>/etc/shadow</path></backingStore></volume>",
                   k_shadow);
    expect_refused("<network><ip><tftp root='/etc'/></ip></network>", "the XML names /etc");
    expect_refused("<secret><usage type='volume'><volume>/etc/shadow</volume></usage></secret>", k_shadow);
}

Test(xml_host, a_path_is_found_however_it_is_written) {
    for (const std::string_view kernel :
         {"<kernel>&#x2f;etc/shadow</kernel>", "<kernel>&#47;etc/shadow</kernel>",
          "<kernel><![CDATA[/etc/shadow]]></kernel>", "<kernel>/et<![CDATA[c/sha]]>dow</kernel>",
          "<kernel>/etc<!-- /srv/vm -->/shadow</kernel>", "<kernel><!-- x -->/etc/shadow</kernel>",
          "<kernel>/etc<?x y?>/shadow</kernel>", "<kernel>/srv/vm/a</kernel><kernel>/etc/shadow</kernel>"})
        expect_refused(booting(kernel), k_shadow);
    for (const std::string_view attribute :
         {"file='&#x2f;etc/shadow'", "file=\"/etc/shadow\"", "new='/etc/shadow'", "new=' /etc/shadow'",
          "new='\n/etc/shadow'", "new='\t/etc/shadow '"})
        expect_refused(source("file", attribute), k_shadow);
    // Blanks before it are part of a name: a directory that is called blank, where the daemon runs.
    for (const std::string_view attribute : {"file=' /srv/vm/a'", "file='\n/srv/vm/a'"})
        expect_refused(source("file", attribute), "does not lead straight");
    expect_refused(booting("<kernel> /srv/vm/a</kernel>"), "does not lead straight");
    expect_refused(booting("<kernel>\n/srv/vm/a\n</kernel>"), "does not lead straight");
    expect_refused(booting("<kernel>srv/vm/a</kernel>"), "does not lead straight");
    expect_refused(source("file", "file='/srv/vm/../../etc/shadow'"), "does not lead straight");
    expect_refused(source("file", "file='/srv/vm//etc'"), "does not lead straight");
    expect_refused(source("file", "file='json:{\"driver\":\"file\"}'"), "does not lead straight");
    expect_refused(source("file", "file='[datastore] a.vmdk'"), "does not lead straight");
    expect_refused(source("file", "file=''"), "does not lead straight");
}

Test(xml_host, libvirt_finds_names_in_any_namespace_and_so_do_we) {
    expect_refused(source("file", "xmlns:q='urn:q' q:file='/etc/shadow'"), k_shadow);
    expect_refused(source("file", "xmlns:q='urn:q' q:file='/srv/vm/a'"),
                   "source/@file is of another namespace");
    expect_refused(machine("<disk xmlns='urn:q'><source file='/etc/shadow'/></disk>"), k_shadow);
    expect_refused("<domain xmlns='urn:q'/>", "<domain> is of another namespace");
    expect_refused("<domain xml:base='/srv/vm/'/>", "another namespace");
    expect_refused(machine("<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='a'/>"),
                   "another namespace");
    expect_refused(
        "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline><q:arg "
        "value='-x'/></q:commandline></domain>",
        "<commandline> is of another namespace");
    // A declaration alone is nothing.
    expect_fits("<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>");
}

Test(xml_host, prose_is_prose_only_where_libvirt_reads_it_as_such) {
    expect_fits("<domain><name>/a</name><title>/b</title><description>/c</description></domain>");
    expect_refused(machine("<name>/etc/shadow</name>"), k_shadow);
    expect_refused(machine("<disk><source><name>/etc/shadow</name></source></disk>"), k_shadow);
    expect_refused("<pool type='dir'><source><name>/etc/shadow</name></source></pool>", k_shadow);
    expect_refused("<name>/etc/shadow</name>", k_shadow);
    expect_fits(
        "<domainsnapshot><name>/s</name><domain><name>/a</name><metadata>/etc</metadata></domain>"
        "<inactiveDomain><metadata><a b='/etc'/></metadata></inactiveDomain></domainsnapshot>");
    // Only a machine's own, and plain one.
    const std::string hidden = "<metadata><disk><source file='/etc/shadow'/></disk></metadata>";
    expect_fits("<domain>" + hidden + "</domain>");
    expect_refused(machine(hidden), k_shadow);
    expect_refused(hidden, k_shadow);
    expect_refused("<domain><devices><domain>" + hidden + "</domain></devices></domain>", k_shadow);
    expect_refused("<domain><q:metadata xmlns:q='urn:q'><source file='/etc/shadow'/></q:metadata></domain>",
                   k_shadow);
    // A terminal is the host's choice only if it is one.
    expect_refused(machine("<serial type='dev'><source path='/dev/pts/3'/></serial>"), "/dev/pts/3");
    expect_refused(machine("<console type='dev' tty='/dev/pts/3'/>"), "/dev/pts/3");
    expect_refused(source("file", "name='/etc/shadow'"), k_shadow);
}

Test(xml_host, programs_have_to_be_named_themselves) {
    expect_fits(machine("<emulator>/usr/bin/qemu-system-x86_64</emulator>"));
    for (const std::string_view program :
         {"<emulator>/srv/vm/evil</emulator>", "<interface><script path='/srv/vm/evil'/></interface>",
          "<interface><downscript path='/srv/vm/evil'/></interface>",
          "<video><driver name='vhostuser'/><binary path='/srv/vm/evil'/></video>"})
        expect_refused(machine(program), "the XML names the program /srv/vm/evil");
    expect_refused("<domain type='xen'><bootloader>/srv/vm/evil</bootloader></domain>",
                   "the program /srv/vm/evil");
    expect_refused("<domain type='xen'><bootloader>pygrub</bootloader></domain>", "does not lead straight");
    expect_refused(machine("<interface><script path='vif-bridge'/></interface>"), "does not lead straight");
    expect_refused("<domain><bootloader_args>--x</bootloader_args></domain>", "<bootloader_args>");
}

// ---- other ways ----------------------------------------

Test(xml_host, images_that_may_name_others_have_their_chain_written_out) {
    const std::string_view end = "<backingStore/>";
    for (const std::string_view format : {"qcow2", "qed", "qcow"}) {
        expect_refused(machine(disk(format)), "without <backingStore/>");
        expect_fits(machine(disk(format, end)));
    }
    const auto below = [](std::string_view format, std::string_view more) {
        return fmt::format(
            "<backingStore type='file'><format type='{}'/><source file='/srv/vm/b'/>{}</backingStore>",
            format, more);
    };
    expect_fits(machine(disk("qcow2", below("raw", ""))));
    expect_fits(machine(disk("qcow2", below("qcow2", end))));
    expect_refused(machine(disk("qcow2", below("qcow2", ""))), "without <backingStore/>");
    expect_refused(machine(disk("qcow2", below("qcow2", below("qcow2", "")))), "without <backingStore/>");
    expect_refused(
        machine(disk("qcow2", "<backingStore type='file'><source file='/srv/vm/b'/></backingStore>")),
        "format that is not given");
    expect_refused(machine(disk("qcow2", "<backingStore><source file='/srv/vm/b'/></backingStore>")),
                   "format that is not given");
    expect_refused(machine(disk("qcow2", fmt::format("{0}{0}", end))), "without <backingStore/>");
    for (const std::string_view format : {"vmdk", "vdi", "vpc", "dmg", "dir", "fat", "new"})
        expect_refused(machine(disk(format, end)), "can name any file of the host");
    expect_refused(
        machine("<disk><driver type='raw'/><driver type='qcow2'/><source file='/srv/vm/a'/></disk>"),
        "can name any file of the host");
    expect_refused(machine("<disk type='network'><driver type='qcow2'/><source protocol='nbd'/></disk>"),
                   "without <backingStore/>");
    expect_refused(
        machine("<disk><source file='/srv/vm/a'/><dataStore type='file'><format type='qcow2'/><source "
                "file='/srv/vm/b'/></dataStore></disk>"),
        "format qcow2");
    // A device alone, as it is attached.
    expect_refused(disk("qcow2"), "without <backingStore/>");
    // Firmware is an image, too.
    expect_refused(booting("<loader format='qcow2'>/srv/vm/a</loader>"), "a firmware of format qcow2");
    expect_refused(booting("<nvram format='qcow2'>/srv/vm/a</nvram>"), "a firmware of format qcow2");
    expect_refused(booting("<nvram template='/srv/vm/t' templateFormat='qcow2'/>"),
                   "a firmware of format qcow2");
}

Test(xml_host, new_images_are_not_used_unless_they_are_there_already) {
    const std::string snapshot =
        "<domainsnapshot><disks><disk name='vda'><source file='/srv/vm/s'/></disk></disks></domainsnapshot>";
    expect_fits(snapshot, Images::made);
    expect_refused(snapshot, "format that is not given", Images::reused);
    const std::string backup =
        "<domainbackup><disks><disk name='vda' type='file'><driver type='qcow2'/><target "
        "file='/srv/vm/b'/></disk></disks></domainbackup>";
    expect_fits(backup, Images::made);
    expect_refused(backup, "without <backingStore/>", Images::reused);
    const std::string copy = "<disk type='file'><source file='/srv/vm/c'/></disk>";
    expect_fits(copy, Images::made);
    expect_refused(copy, "format that is not given", Images::reused);
    expect_fits("<disk type='file'><driver type='raw'/><source file='/srv/vm/c'/></disk>", Images::reused);
    // The machine in a snapshot is a machine, whose disks are used.
    expect_refused("<domainsnapshot>" + machine(disk("qcow2")) + "</domainsnapshot>",
                   "without <backingStore/>", Images::made);
}

Test(xml_host, what_reaches_the_host_without_a_path) {
    for (const std::string_view device :
         {"<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>",
          "<interface type='hostdev'><source><address type='pci' bus='1'/></source></interface>",
          "<filesystem type='mount'><source dir='/srv/vm/a'/><target dir='a'/></filesystem>",
          "<shmem name='a'/>",
          "<disk type='dir'><source dir='/srv/vm'/></disk>",
          "<disk type='volume'><source pool='p' volume='v'/></disk>",
          "<disk type='file'><source file='/srv/vm/a' pool='p'/></disk>",
          "<disk type='nvme'><source type='pci' namespace='1'><address bus='1'/></source></disk>",
          "<disk type='block' rawio='yes'><source dev='/srv/vm/a'/></disk>",
          "<disk type='block' sgio='unfiltered'><source dev='/srv/vm/a'/></disk>",
          "<disk type='file'><source file='/srv/vm/a'><seclabel model='dac' relabel='no'/></source></disk>",
          "<tpm><backend type='passthrough'/></tpm>",
          "<smartcard mode='host'/>",
          "<smartcard mode='host-certificates'><certificate>a</certificate></smartcard>",
          "<smartcard/>",
          "<audio id='1' type='pulseaudio' serverName='unix:/run/pulse'/>",
          "<audio id='1' type='alsa'/>",
          "<audio id='1' type='file'/>",
          "<graphics type='sdl' display=':0'/>",
          "<graphics type='egl-headless'/>",
          "<graphics type='spice'><gl enable='yes'/></graphics>"})
        cr_expect(!facts_of(machine(device)).power.empty(), "%s", std::string(device).c_str());
    for (const std::string_view xml :
         {"<domain><seclabel type='none'/></domain>", "<domain type='lxc'/>", "<domain type='openvz'/>",
          "<domain type='kvm'><os><type>exe</type></os></domain>",
          "<domain type='kvm'><os><type> exe </type></os></domain>",
          "<network><forward mode='hostdev'><pf dev='eth0'/></forward></network>",
          "<device><parent>scsi_host5</parent></device>", "<pool type='netfs'/>", "<pool type='logical'/>",
          "<pool type='fs'/>", "<pool/>", "<networkport><plug type='hostdev-pci'/></networkport>",
          "<volume><target><permissions><mode>04755</mode></permissions></target></volume>",
          "<volume><target><permissions><mode>+1</mode></permissions></target></volume>"})
        cr_expect(!facts_of(xml).power.empty(), "%s", std::string(xml).c_str());
    for (const std::string_view fine :
         {"<smartcard mode='passthrough' type='spicevmc'/>", "<audio id='1' type='none'/>",
          "<tpm><backend type='emulator'/></tpm>", "<disk rawio='no'/>"})
        expect_fits(machine(fine));
}

// ---- names ----------------------------------------

Test(xml_host, elements_are_known_by_every_name) {
    const auto forbidden = [](std::string_view xml, std::string element) {
        const XmlFacts facts = facts_of(xml);
        return bool(find_misfit({.forbid = {std::move(element)}, .paths = {}}, &facts));
    };
    const std::string_view renamed =
        "<domain><x:commandline xmlns:x='http://libvirt.org/schemas/domain/qemu/1.0'/></domain>";
    cr_assert(forbidden(renamed, "qemu:commandline"));
    cr_assert(forbidden(renamed, "x:commandline"));
    cr_assert(forbidden(renamed, "commandline"));
    cr_assert(!forbidden(renamed, "lxc:commandline"));
    cr_assert(forbidden("<domain><commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/></domain>",
                        "qemu:commandline"));
    cr_assert(forbidden("<domain><qemu:commandline xmlns:qemu='urn:other'/></domain>", "qemu:commandline"));
    cr_assert(forbidden(machine("<x:hostdev xmlns:x='urn:x'/>"), "hostdev"));
    cr_assert(forbidden("<hostdev/>", "hostdev"), "as it is attached");
    cr_assert(!forbidden("<domain><metadata><hostdev/></metadata></domain>", "hostdev"));
    cr_assert(forbidden("<domain><metadata/></domain>", "metadata"));
    cr_assert(!forbidden(machine("<hostdevs/>"), "hostdev"));
}
