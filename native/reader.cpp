// Opening a packed file. The file is read into memory of our own, not mapped: a mapped file that another process
// truncates kills us with SIGBUS, and what was checked once could change afterwards. Packed files are small; this is
// the safe choice.
#include "reader.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"

namespace gossamer {
namespace {

struct Buffer {
  std::unique_ptr<uint8_t[]> data;
  explicit Buffer(size_t size) : data(new uint8_t[size]) {}  // not zeroed
};

std::shared_ptr<const File> check(const std::shared_ptr<Buffer>& buffer, size_t size) {
  auto file = std::make_shared<File>();
  file->bytes = buffer;
  file->size = size;
  Container container = read_container(buffer->data.get(), size);
  Json manifest = Json::parse(container.manifest, Error::Kind::graph, "manifest");
  file->network = read_manifest(manifest.root(), &container);
  file->manifest = std::move(container.manifest);
  return file;
}

struct Closer {
  void operator()(std::FILE* f) const { std::fclose(f); }
};

}  // namespace

std::shared_ptr<const File> open_file(const std::string& path) {
  constexpr auto io = Error::Kind::io;
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. It changes nothing for regular files.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  std::unique_ptr<std::FILE, Closer> stream(descriptor < 0 ? nullptr : fdopen(descriptor, "rb"));
  if (!stream) fail(io, "expected a readable packed file, got '", path, "': ", std::strerror(errno));
  struct stat status;
  if (fstat(fileno(stream.get()), &status) != 0) fail(io, "'", path, "': ", std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(io, "expected a regular file, got '", path, "'");
  auto size = static_cast<size_t>(status.st_size);
  // The head first, so that a wrong file of many gigabytes is refused before anything is allocated for it.
  uint8_t head[container_prefix + 1];
  size_t got = std::fread(head, 1, sizeof head, stream.get());
  if (std::ferror(stream.get())) fail(io, "cannot read '", path, "': ", std::strerror(errno));
  header_length(head, got, size);
  auto buffer = std::make_shared<Buffer>(size);
  std::memcpy(buffer->data.get(), head, got);
  size_t rest = std::fread(buffer->data.get() + got, 1, size - got, stream.get());
  if (got + rest != size) fail(io, "expected ", size, " bytes in '", path, "', could read ", got + rest);
  return check(buffer, size);
}

std::shared_ptr<const File> open_bytes(const void* data, size_t size) {
  header_length(static_cast<const uint8_t*>(data), size, size);
  auto buffer = std::make_shared<Buffer>(size);
  std::memcpy(buffer->data.get(), data, size);
  return check(buffer, size);
}

}  // namespace gossamer
