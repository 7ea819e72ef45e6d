#include "choice_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "crc32.h"

namespace gossamer {
namespace {

constexpr size_t kMostBytes = size_t{1} << 24;  // of a file that is believed
const char* const kFirst = "gossamer choices 1\n";

// Where caches may lie; empty: nowhere.
std::string cache_folder() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  const std::string own = variable("GOSSAMER_CACHE_DIR"), xdg = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (!own.empty()) return own;
  if (!xdg.empty() && xdg.front() == '/') return xdg + "/gossamer";  // relative ones are to be ignored
  if (!home.empty() && home.front() == '/') return home + "/.cache/gossamer";
  return "";
}

std::string last_line(const std::string& text) { return "crc32 " + crc32_hex(text.data(), text.size()) + "\n"; }

}  // namespace

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, found;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string name = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1),
                      value = line.substr(colon + 2);
    if (name == "model name") return value;
    if (name == "CPU implementer" || name == "CPU variant" || name == "CPU part")  // AArch64 has numbers only
      found += (found.empty() ? "" : " ") + value;
    if (name == "CPU part") break;
  }
  return found.empty() ? "unknown" : found;
}

ChoiceCache::ChoiceCache(const std::string& isa, int threads) {
  const std::string cpu = cpu_model();
  head_ = kFirst + ("cpu " + cpu) + "\nversion " GOSSAMER_VERSION "\nisa " + isa + "\nthreads " +
          std::to_string(threads) + "\n\n";
  folder_ = cache_folder();
  if (folder_.empty()) {
    remarks_.push_back("no place for a cache: set GOSSAMER_CACHE_DIR; what is measured is not kept");
    return;
  }
  path_ = folder_ + "/choices-" GOSSAMER_VERSION "-" + isa + "-" + std::to_string(threads) + "-" +
          crc32_hex(cpu.data(), cpu.size()) + ".txt";
  read(choices_, true);
}

// False where the file is there but not to be believed.
bool ChoiceCache::read(Choices& into, bool remark) {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return true;
  std::string text;
  char buffer[65536];
  while (text.size() <= kMostBytes && (file.read(buffer, sizeof buffer), file.gcount() > 0))
    text.append(buffer, static_cast<size_t>(file.gcount()));
  const auto refuse = [&](const char* why) {
    if (remark)
      remarks_.push_back("cache " + path_ + ": " + why + "; what it held is measured anew and the file is replaced");
    return false;
  };
  const size_t end = text.rfind("crc32 ");
  if (text.size() > kMostBytes || end == std::string::npos || text.substr(end) != last_line(text.substr(0, end)))
    return refuse("damaged");
  if (text.compare(0, head_.size(), head_) != 0) return refuse("of another machine, version or kind");
  std::istringstream lines(text.substr(head_.size(), end - head_.size()));
  Choices found;
  for (std::string line; std::getline(lines, line);) {
    const size_t one = line.find('\t'), two = one == std::string::npos ? one : line.find('\t', one + 1);
    if (two == std::string::npos) return refuse("damaged");
    found[line.substr(0, one)] = {line.substr(one + 1, two - one - 1), line.substr(two + 1)};
  }
  into.insert(found.begin(), found.end());  // what is there already stays
  return true;
}

const ChoiceCache::Choice* ChoiceCache::find(const std::string& layer) const {
  const auto found = choices_.find(layer);
  return found == choices_.end() ? nullptr : &found->second;
}

void ChoiceCache::put(const std::string& layer, const Choice& choice) { choices_[layer] = fresh_[layer] = choice; }

void ChoiceCache::save() {
  if (path_.empty() || fresh_.empty()) return;
  Choices all = fresh_;  // over what the file says now
  read(all, false);
  std::string text = head_;
  for (const auto& [layer, choice] : all) text += layer + "\t" + choice.name + "\t" + choice.times + "\n";
  text += last_line(text);
  const auto give_up = [&](const std::string& why) {
    remarks_.push_back("cache " + path_ + ": not written (" + why + "); what was measured is not kept");
  };
  std::error_code failed;
  std::filesystem::create_directories(folder_, failed);
  if (failed) return give_up(failed.message());
  static std::atomic<int> number{0};
  const std::string beside = path_ + "." + std::to_string(getpid()) + "." + std::to_string(number++) + ".tmp";
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return give_up(std::strerror(errno));
  size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    const ssize_t wrote = ::write(file, text.data() + done, text.size() - done);
    if (wrote >= 0)
      done += static_cast<size_t>(wrote);
    else if (errno != EINTR)
      error = errno;
  }
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(beside.c_str(), path_.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(beside.c_str());
    return give_up(std::strerror(error));
  }
  fresh_.clear();
}

}  // namespace gossamer
