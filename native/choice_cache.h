// Choices that were measured before, in one text file a kind of machine: the first that can be had of
// $GOSSAMER_CACHE_DIR, $XDG_CACHE_HOME/gossamer and ~/.cache/gossamer. The head of the file names CPU, library version,
// instruction set and threads; a line names a layer, its choice and the times; the last line is a checksum. A file is
// replaced as a whole (written beside it, then renamed), so that a reader sees an old one or a new one. Nothing here is
// an error: where a file is damaged or no place is writable, a remark says so and the choices are not kept.
#pragma once
#include <map>
#include <string>
#include <vector>

namespace gossamer {

class ChoiceCache {
 public:
  ChoiceCache(const std::string& isa, int threads);  // reads what there is
  struct Choice {
    std::string name, times;  // times: of all that were measured, in words
  };
  // Texts hold neither tabs nor ends of lines.
  const Choice* find(const std::string& layer) const;
  void put(const std::string& layer, const Choice& choice);
  void save();  // what is new, together with what other processes wrote meanwhile
  const std::vector<std::string>& remarks() const { return remarks_; }
  const std::string& path() const { return path_; }

 private:
  using Choices = std::map<std::string, Choice>;
  bool read(Choices& into, bool remark);
  std::string head_, folder_, path_;  // path_: empty where there is no place
  Choices choices_, fresh_;
  std::vector<std::string> remarks_;
};

std::string cpu_model();  // "Intel(R) Xeon(R) Processor"; "unknown" where the system does not tell

}  // namespace gossamer
