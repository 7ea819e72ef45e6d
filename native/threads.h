// A small pool of sleeping workers with static work: part p of n always does the same pieces, so results never depend
// on timing. The caller is one of the n. A process that forked starts its workers anew at the next call (threads do not
// survive a fork). pin: every worker stays on one CPU of those that the process may use, the first of which is left to
// the caller, whose own place is its own affair.
#pragma once
#include <memory>
#include <vector>

namespace gossamer {

class Team {
 public:
  explicit Team(int threads, bool pin = false);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  int size() const { return threads_; }
  std::vector<std::vector<int>> places();  // the CPUs that each worker may use; empty where the system does not tell
  // body(part) for part = 0 .. size() - 1, one part a thread; returns when all are done. Allocates nothing.
  template <typename Body>
  void run(const Body& body) {
    if (threads_ == 1) return body(0);
    run_parts([](const void* context, int part) { (*static_cast<const Body*>(context))(part); }, &body);
  }

 private:
  struct Shared;
  void run_parts(void (*call)(const void*, int), const void* context);
  void start();
  int threads_;
  bool pin_ = false;
  std::unique_ptr<Shared> shared_;
};

}  // namespace gossamer
