// SPDX-License-Identifier: LGPL-2.1-or-later
// bounds - that roles and groups can be followed to their ends.
#include "policy/bounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <vector>

namespace virtgate::policy {

namespace {

// A role or a group, and the words by which it includes others.
struct Node {
    const Text* name;
    std::vector<const Text*> ways{};      // words that name another node
    std::vector<std::size_t> targets{};   // which
    std::size_t words = 1;                // of its own
    std::size_t depth = 0, expanded = 0;  // with all that it includes
    std::size_t height = 0;               // in which the search has entered it; 0: not yet
    bool is_done = false;
};

class Graph {
public:
    std::vector<Node> nodes{};
    std::map<std::string_view, std::size_t> names{};

    void add(const Text& name, std::size_t words) {
        if (names.emplace(name.text, nodes.size()).second) nodes.push_back({.name = &name, .words = words});
    }
    void connect(const Text& from, const Text& way, std::string_view to) {
        const auto target = names.find(to);
        Node& node = nodes[names.find(from.text)->second];
        if (target == names.end() || node.name != &from) return;
        node.ways.push_back(&way);
        node.targets.push_back(target->second);
    }

    // The words that close a circle: they lead to a node from which they can be reached.
    [[nodiscard]] std::set<const Text*> circles() {
        std::set<const Text*> found;
        for (const auto& [name, start] : names)
            if (nodes[start].height == 0) search(start, found);
        return found;
    }

    // Depth and size of every node; `cut` are words that are not followed.
    void measure(const std::set<const Text*>& cut) {
        for (const std::size_t i : order_) {
            Node& node = nodes[i];
            node.expanded = node.words;
            for (std::size_t way = 0; way < node.ways.size(); ++way) {
                if (cut.contains(node.ways[way])) continue;
                const Node& target = nodes[node.targets[way]];
                node.depth = std::max(node.depth, target.depth + 1);
                node.expanded = std::min(node.expanded + target.expanded, 2 * k_words_max);
            }
        }
    }

private:
    // Depth first, without recursion. `order_` gets every node behind those that it includes.
    void search(std::size_t start, std::set<const Text*>& found) {
        struct Step {
            std::size_t node, way;
        };
        std::vector<Step> path{{start, 0}};
        nodes[start].height = 1;
        while (!path.empty()) {
            auto& [at, way] = path.back();
            Node& node = nodes[at];
            if (way == node.ways.size()) {
                node.is_done = true;
                order_.push_back(at);
                path.pop_back();
                continue;
            }
            const std::size_t next = node.targets[way];
            const Text* word = node.ways[way++];
            if (nodes[next].height == 0) {
                nodes[next].height = path.size() + 1;
                path.push_back({next, 0});
            } else if (!nodes[next].is_done) {
                found.insert(word);
            }
        }
    }

    std::vector<std::size_t> order_{};
};

// Words that lead from one member of a circle to another. With those that close it known, a word belongs to a
// circle if where it leads to leads back, which is found by walking; circles are mistakes, and few.
std::set<const Text*> members(const Graph& graph, const std::set<const Text*>& closing) {
    std::set<const Text*> found = closing;
    std::size_t words = 0;
    for (const Node& node : graph.nodes) words += node.ways.size();
    if (closing.empty() || words > k_roles_max) return found;
    const auto reaches = [&](std::size_t from, std::size_t to) {
        std::vector<bool> seen(graph.nodes.size());
        std::vector<std::size_t> todo{from};
        while (!todo.empty()) {
            const std::size_t at = todo.back();
            todo.pop_back();
            if (at == to) return true;
            if (seen[at]) continue;
            seen[at] = true;
            todo.insert(todo.end(), graph.nodes[at].targets.begin(), graph.nodes[at].targets.end());
        }
        return false;
    };
    for (std::size_t i = 0; i < graph.nodes.size() && found.size() < Complaints::k_lines_max; ++i)
        for (std::size_t way = 0; way < graph.nodes[i].ways.size(); ++way)
            if (reaches(graph.nodes[i].targets[way], i)) found.insert(graph.nodes[i].ways[way]);
    return found;
}

Graph graph_of_roles(const std::vector<RoleSource>& roles) {
    Graph graph;
    for (const RoleSource& role : roles)
        graph.add(role.name, 1 + role.allow.size() + role.deny.size() + role.require.size());
    for (const RoleSource& role : roles)
        for (const Text& word : role.include) graph.connect(role.name, word, word.text);
    return graph;
}

Graph graph_of_groups(const std::vector<GroupSource>& groups) {
    Graph graph;
    for (const GroupSource& group : groups) graph.add(group.name, 1 + group.procedures.size());
    for (const GroupSource& group : groups)
        for (const Text& word : group.procedures)
            if (word.text.starts_with('@'))
                graph.connect(group.name, word, std::string_view(word.text).substr(1));
    return graph;
}

class Cutter {
public:
    Cutter(const Source& source, Complaints& complaints) : source_(source), complaints_(complaints) {}

    std::optional<Source> run() {
        const bool has_many_roles = refuse_crowd(source_.roles, "roles", k_roles_max);
        const bool has_many_groups = refuse_crowd(source_.groups, "groups", k_groups_max);
        const bool is_crowded = has_many_roles || has_many_groups;
        if (!is_crowded) {
            look_at_groups();
            look_at_roles();
        }
        if (cut_.empty() && emptied_.empty() && !is_crowded) return std::nullopt;
        Source rest =
            is_crowded ? Source{.identities = source_.identities, .global = source_.global} : source_;
        for (std::size_t i = 0; i < rest.roles.size(); ++i) {
            RoleSource& role = rest.roles[i];
            erase(source_.roles[i].include, role.include);
            if (emptied_.contains(&source_.roles[i].name))
                for (auto* list : {&role.include, &role.allow, &role.deny, &role.require}) list->clear();
        }
        for (std::size_t i = 0; i < rest.groups.size(); ++i) {
            erase(source_.groups[i].procedures, rest.groups[i].procedures);
            if (emptied_.contains(&source_.groups[i].name)) rest.groups[i].procedures.clear();
        }
        return rest;
    }

private:
    template <class Things>
    bool refuse_crowd(const Things& things, std::string_view what, std::size_t most) {
        if (things.size() <= most) return false;
        complaints_.error(things[most].name.at, fmt::format("more than {} {}", most, what));
        return true;
    }

    void look_at_groups() {
        Graph graph = graph_of_groups(source_.groups);
        for (const Text* word : graph.circles()) {
            complaints_.error(word->at,
                              fmt::format("the group \"{}\" contains itself", word->text.substr(1)));
            cut_.insert(word);
        }
        graph.measure(cut_);
        refuse_large(graph, "group");
        for (const Node& node : graph.nodes) group_words_["@" + node.name->text] = node.expanded;
    }

    void look_at_roles() {
        Graph graph = graph_of_roles(source_.roles);
        for (const Text* word : members(graph, graph.circles())) {
            complaints_.error(word->at, fmt::format("the role \"{}\" includes itself", word->text));
            cut_.insert(word);
        }
        for (const RoleSource& role : source_.roles)
            for (const auto* list : {&role.allow, &role.deny})
                for (const Text& word : *list)
                    if (const auto group = group_words_.find(word.text); group != group_words_.end())
                        graph.nodes[graph.names.find(role.name.text)->second].words += group->second;
        graph.measure(cut_);
        refuse_large(graph, "role");
        std::size_t all = 0;
        for (const Node& node : graph.nodes) {
            all += emptied_.contains(node.name) ? 0 : node.expanded;
            if (all <= k_words_max) continue;
            complaints_.error(
                node.name->at,
                fmt::format("more than {} words in all roles, with what they include", k_words_max));
            for (const Node& each : graph.nodes) emptied_.insert(each.name);
            return;
        }
    }

    void refuse_large(const Graph& graph, std::string_view what) {
        for (const Node& node : graph.nodes) {
            const bool is_deep = node.depth > k_depth_max;
            if (!is_deep && node.expanded <= k_words_max) continue;
            complaints_.error(node.name->at,
                              is_deep
                                  ? fmt::format("the {} \"{}\" includes others more than {} deep", what,
                                                node.name->text, k_depth_max)
                                  : fmt::format("the {} \"{}\" has more than {} words, with what it includes",
                                                what, node.name->text, k_words_max));
            emptied_.insert(node.name);
        }
    }

    // Takes from `rest`, a copy of `all`, what is cut.
    void erase(const std::vector<Text>& all, std::vector<Text>& rest) const {
        std::vector<Text> kept;
        for (std::size_t i = 0; i < all.size(); ++i)
            if (!cut_.contains(&all[i])) kept.push_back(std::move(rest[i]));
        rest = std::move(kept);
    }

    const Source& source_;
    Complaints& complaints_;
    std::set<const Text*> cut_{};      // words that are not followed
    std::set<const Text*> emptied_{};  // names of roles and groups of which nothing is read
    std::map<std::string, std::size_t> group_words_{};
};

}  // namespace

std::optional<Source> cut_to_bounds(const Source& source, Complaints& complaints) {
    return Cutter(source, complaints).run();
}

}  // namespace virtgate::policy
